"""Decoder-only models at run time: examples as packed tokens, and texts token by token with a cache."""
