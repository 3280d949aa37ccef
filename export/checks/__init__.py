"""Independent checks of an export: the only part of it that runs a model."""
