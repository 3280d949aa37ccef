"""`python -m edge_lorahub`: the same as the console command."""

from .cli.main import main

main()
