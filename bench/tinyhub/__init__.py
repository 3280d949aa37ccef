"""The recipe that trains the embedded hub (extra ``train``: torch, transformers, peft)."""
