"""Fails when it is imported."""

raise LookupError("this program is broken")
