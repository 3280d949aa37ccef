"""What an adapter can become."""
