"""LoraHub learning on a CPU (arXiv 2307.13269): compose LoRA modules from a few examples, without PyTorch.

The names below are the whole public interface. They are imported when they are first used, so that the
command line starts fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .bundle.prompt import Prompt as Prompt
    from .composition.adapter import Adapter as Adapter
    from .composition.adapter import load_adapter as load_adapter
    from .convert.bake import bake as bake
    from .errors import EdgeLorahubError as EdgeLorahubError
    from .errors import EdgeLorahubWarning as EdgeLorahubWarning
    from .evaluation.matches import Evaluation as Evaluation
    from .evaluation.matches import evaluate as evaluate
    from .examples.example import Example as Example
    from .examples.example import read_examples as read_examples
    from .learning.adaptation import adapt as adapt
    from .learning.learned import Adaptation as Adaptation
    from .learning.settings import Settings as Settings
    from .lora.modules import Modules as Modules
    from .runtime.generation import generate as generate
    from .runtime.generation import stream as stream
    from .runtime.sampling import Sampling as Sampling
    from .runtime.session import Model as Model
    from .runtime.session import load as load
    from .search.evaluations import Evaluations as Evaluations
    from .search.evaluations import load_evaluations as load_evaluations
    from .sharing.module_hub import Hub as Hub

_HOMES = {
    "Adaptation": "learning.learned",
    "Adapter": "composition.adapter",
    "EdgeLorahubError": "errors",
    "EdgeLorahubWarning": "errors",
    "Evaluation": "evaluation.matches",
    "Evaluations": "search.evaluations",
    "Example": "examples.example",
    "Hub": "sharing.module_hub",
    "Model": "runtime.session",
    "Modules": "lora.modules",
    "Prompt": "bundle.prompt",
    "Sampling": "runtime.sampling",
    "Settings": "learning.settings",
    "adapt": "learning.adaptation",
    "bake": "convert.bake",
    "evaluate": "evaluation.matches",
    "generate": "runtime.generation",
    "load": "runtime.session",
    "load_adapter": "composition.adapter",
    "load_evaluations": "search.evaluations",
    "read_examples": "examples.example",
    "stream": "runtime.generation",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value
