"""Shared by the types that speak HTTP."""
