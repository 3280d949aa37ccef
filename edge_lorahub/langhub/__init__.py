"""The natural-language hub: LoRA modules for SmolLM2-135M-Instruct, and unseen tasks with their examples."""

from .language_tasks import TASKS, task_file
from .module_folders import MODULES, SLOTS, module_folders
from .packaged_model import packaged_model

__all__ = ["MODULES", "SLOTS", "TASKS", "module_folders", "packaged_model", "task_file"]
