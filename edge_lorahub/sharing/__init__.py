"""Modules in the local store: added, chosen, checked and published."""
