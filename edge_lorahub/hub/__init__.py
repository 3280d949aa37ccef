"""From the name of a module or checkpoint to a local folder."""
