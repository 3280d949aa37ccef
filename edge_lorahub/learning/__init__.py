"""Learning weights: the model, the modules, the examples and the search, joined."""
