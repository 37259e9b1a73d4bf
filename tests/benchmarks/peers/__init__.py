"""Ours side by side with its peers: `make bench-peers`."""
