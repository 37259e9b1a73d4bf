"""A server under load that is wounded again and again: `make soak`."""
