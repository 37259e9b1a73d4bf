"""Reload: a new master proves itself beside the one that serves, and follows it."""
