"""Ours against a bare prefork loop, in one run: `python -m tests.benchmarks.run`."""
