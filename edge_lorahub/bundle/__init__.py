"""The bundle's format: its manifest and graphs, checked before anything is run."""
