"""The errors of edge-lorahub: one base class, and twins of the built-ins that callers expect.

Every message is one line that says what was found, where, and what to do.
"""

import sys
import warnings
from pathlib import Path

_PACKAGE = str(Path(__file__).parent)


class EdgeLorahubError(Exception):
    """The base of every error that edge-lorahub raises on purpose."""


class SettingsError(EdgeLorahubError, ValueError):
    """An option or an argument is out of its range, or two of them contradict each other."""


class CheckpointError(EdgeLorahubError, ValueError):
    """A Hugging Face checkpoint cannot be exported."""


class BundleError(EdgeLorahubError, ValueError):
    """A bundle is missing, incomplete, damaged or of another format version."""


class ModuleFileError(EdgeLorahubError, ValueError):
    """A LoRA module's folder cannot be read, or asks for something that is not supported."""


class ModuleMismatchError(EdgeLorahubError, ValueError):
    """A LoRA module is readable, but does not fit the bundle or its fellow modules."""


class ExamplesError(EdgeLorahubError, ValueError):
    """A file of examples cannot be read, or an example is incomplete."""


class ObjectiveError(EdgeLorahubError, ArithmeticError):
    """A loss is no finite number where one is needed: the plain model's, or every candidate's."""


class JournalError(EdgeLorahubError, ValueError):
    """A search's journal cannot be resumed, or is in the way of a new one."""


class MissingPathError(EdgeLorahubError, FileNotFoundError):
    """A file or folder that was named is not there."""


class OutputExistsError(EdgeLorahubError, FileExistsError):
    """The output folder exists, and overwriting was not asked for or is not safe."""


class NotWritableError(EdgeLorahubError, PermissionError):
    """The output's place cannot be written to."""


class OutputFailedError(EdgeLorahubError, OSError):
    """An output could not be written, as on a full disk; what had its name before is unchanged."""


class NotEnoughMemoryError(EdgeLorahubError, MemoryError):
    """The machine, or a limit that was set, has too little memory for this model and these inputs."""


class HubError(EdgeLorahubError, OSError):
    """Something could not be had from the Hugging Face Hub or its local cache."""


class HubUnreachableError(HubError):
    """Neither the Hugging Face Hub nor its local cache has it now; another time it may."""


class StoreError(EdgeLorahubError, OSError):
    """The local store of modules is damaged, busy or in the way, or has not what was asked for."""


class ClusterError(EdgeLorahubError, ConnectionError):
    """A Ray cluster cannot be reached, has no room, or has lost the processes that a cell was given to."""


class MissingDependencyError(EdgeLorahubError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


class EdgeLorahubWarning(UserWarning):
    """Something that is probably not what the user meant, but that does not stop the work."""


def warn(message: str) -> None:
    """Warns (EdgeLorahubWarning) at the line outside of this package that called it, however far up that is."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, EdgeLorahubWarning, stacklevel=level)
