"""One HTML page of an adapter or a comparison: data in from their files, a page out that needs nothing else."""
