"""GGUF files, llama.cpp's, as a source of the exporter."""

from .gguf_source import GgufSource, open_gguf

__all__ = ["GgufSource", "open_gguf"]
