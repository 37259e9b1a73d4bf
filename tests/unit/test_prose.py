"""Docstrings are plain: they say what a thing is or does, and begin with that."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("supervisor", "workers", "modules", "tests")
FILES = [one for room in ROOMS for one in (ROOT / room).rglob("*.py")]
NODES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@pytest.mark.parametrize("file", FILES, ids=lambda one: str(one.relative_to(ROOT)))
def test_no_docstring_begins_with_what(file):
    """A docstring that begins with "What" is a riddle until its last word."""
    found = [
        text.splitlines()[0]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, NODES) and (text := ast.get_docstring(node)) and text.startswith("What")
    ]
    assert found == []
