"""The version, where everything can read it and nothing is imported for it."""

__version__ = "0.2.0.dev0"
