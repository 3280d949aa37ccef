"""From the name of a module or checkpoint to a local folder; and the local store's index and files."""
