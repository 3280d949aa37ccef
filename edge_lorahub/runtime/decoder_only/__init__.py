"""Decoder-only models: packed texts scored once, and answers token by token."""
