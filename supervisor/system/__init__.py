"""The operating system: the only folder that calls it."""
