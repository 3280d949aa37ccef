"""T5 1.0, T5 1.1 (Flan-T5) and mT5."""
