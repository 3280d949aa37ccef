"""The tiny world of the embedded hub: its tasks, their generators and its vocabulary, without torch."""

from .tasks import Task, examples
from .unseen import CLEAN_MODULES, DEV_TASKS, ENTANGLED_MODULES, TEST_TASKS, UnseenTask, relevant_modules
from .vocabulary import vocabulary

__all__ = [
    "CLEAN_MODULES",
    "DEV_TASKS",
    "ENTANGLED_MODULES",
    "TEST_TASKS",
    "Task",
    "UnseenTask",
    "examples",
    "relevant_modules",
    "vocabulary",
]
