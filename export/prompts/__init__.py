"""Chat templates, rendered once into the plain texts of a bundle's prompt."""

from .chat_templates import ChatTemplate, find_template, gguf_template
from .freezing import freeze

__all__ = ["ChatTemplate", "find_template", "freeze", "gguf_template"]
