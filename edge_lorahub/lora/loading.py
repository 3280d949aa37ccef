"""A module of any form that is read: a PEFT folder, an adapter of mlx_lm, or ONNX Runtime's adapter files."""

from __future__ import annotations

from pathlib import Path

from ..errors import MissingPathError, ModuleFileError
from ..files.kinds import not_a_module
from ..files.user_path import user_path
from ..hub.resolve import module_folder
from .foreign_names import refuse_tensor_file
from .mlx_files import is_mlx, read_mlx
from .module import Module
from .onnx_adapter_files import adapter_files, read_onnx_adapter
from .peft_config import CONFIG
from .peft_files import read_peft


def module_path(source: str | Path, revision: str | None = None, *, card: bool = False) -> Path:
    """The local folder of a module, or the file of one that is a file; what has to be fetched is fetched.

    With `card` the model card and the license too. Raises what `hub.resolve.module_folder` raises, and ModuleFileError
    for a file of tensors by another program, which it names.
    """
    if user_path(source).is_file():
        refuse_tensor_file(user_path(source))
    return module_folder(source, revision, card=card)


def load_module(source: str | Path, *, name: str | None = None, revision: str | None = None) -> Module:
    """Reads a module's settings, and checks the shapes and the numbers of its tensors.

    source is a folder (of PEFT, of mlx_lm, or of .onnx_adapter files), one .onnx_adapter file, or a Hub id; the default
    name is the folder's (or the id). Raises ModuleFileError, MissingPathError or HubError. Warns about settings that
    are unknown here, or that change nothing.
    """
    path = module_path(source, revision)
    try:
        str(path).encode()
    except UnicodeEncodeError:
        # an adapter's sidecar could not name it
        raise ModuleFileError(f"{str(path)!r}: a name that is not UTF-8; rename the folder") from None
    if name is None:
        name = path.resolve().name if user_path(source).exists() else str(source)
    if files := adapter_files(path):
        return read_onnx_adapter(path, files, name)
    if not (path / CONFIG).is_file():
        raise MissingPathError(not_a_module(path))
    return read_mlx(path, name) if is_mlx(path) else read_peft(path, name)
