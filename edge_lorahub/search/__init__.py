"""The search for weights: ask and tell. Knows no model."""
