"""Random checkpoints and modules of published sizes, for tests and benchmarks."""
