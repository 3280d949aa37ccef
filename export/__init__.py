"""The exporter: a Hugging Face checkpoint in, a bundle out, without PyTorch."""

from .bundle_writer import export

__all__ = ["export"]
