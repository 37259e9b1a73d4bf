"""Ours measured beside a bare loop and its peers: one table of contenders, one runner."""
