"""`python -m edge_lorahub`: the same as the console command."""

from .cli.start import main

main()
