"""LoraHub learning on a CPU (arXiv 2307.13269): compose LoRA modules from a few examples, without PyTorch.

The names below are the whole public interface. They are imported when they are first used, so that the
command line starts fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .adaptation import adapt as adapt
    from .adaptation import load_to_adapt as load_to_adapt
    from .adapter import Adapter as Adapter
    from .adapter import load_adapter as load_adapter
    from .baking import bake as bake
    from .errors import EdgeLorahubError as EdgeLorahubError
    from .errors import EdgeLorahubWarning as EdgeLorahubWarning
    from .evaluation import Evaluation as Evaluation
    from .evaluation import evaluate as evaluate
    from .evaluations import Evaluations as Evaluations
    from .evaluations import load_evaluations as load_evaluations
    from .examples import Example as Example
    from .examples import read_examples as read_examples
    from .generation import generate as generate
    from .learned import Adaptation as Adaptation
    from .modules import Modules as Modules
    from .session import Model as Model
    from .session import load as load
    from .settings import Settings as Settings

_HOMES = {
    "Adaptation": "learned",
    "Adapter": "adapter",
    "EdgeLorahubError": "errors",
    "EdgeLorahubWarning": "errors",
    "Evaluation": "evaluation",
    "Evaluations": "evaluations",
    "Example": "examples",
    "Model": "session",
    "Modules": "modules",
    "Settings": "settings",
    "adapt": "adaptation",
    "bake": "baking",
    "evaluate": "evaluation",
    "generate": "generation",
    "load": "session",
    "load_adapter": "adapter",
    "load_evaluations": "evaluations",
    "load_to_adapt": "adaptation",
    "read_examples": "examples",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value
