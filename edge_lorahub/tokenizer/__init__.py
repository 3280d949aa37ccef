"""tokenizer.json, loaded with bounds."""
