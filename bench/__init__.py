"""Latency and memory benchmarks, on models of the real dimensions with seeded random weights."""
