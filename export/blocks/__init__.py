"""What the graphs of decoder-only families are made of."""
