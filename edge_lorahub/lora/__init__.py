"""LoRA modules as they lie on disk, checked."""
