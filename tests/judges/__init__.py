"""Foreign judges of what we serve, and of our peers: `make judges`."""
