"""The worker types: a file or a folder here is a type and has its name."""
