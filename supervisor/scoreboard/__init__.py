"""Shared memory that the children write and anyone may read."""
