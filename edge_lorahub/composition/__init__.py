"""Modules and weights: what the graphs read, or an adapter."""
