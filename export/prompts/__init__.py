"""Chat templates, rendered once into the plain texts of a bundle's prompt."""

from .freezing import freeze

__all__ = ["freeze"]
