"""Adapters of servers that are not ours."""
