"""What an export is made from: checkpoints, their settings and their tokenizers."""
