"""README.md as facts: its chapters, their fenced blocks, their tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

TEXT = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"# ([\w./-]+\.(?:py|toml))\n")


class Block(NamedTuple):
    """A fenced block. One of python or toml begins with a comment: the name of its file."""

    chapter: str
    language: str
    text: str

    @property
    def first(self) -> str:
        """Its first line, by which it is known."""
        return self.text.splitlines()[0].strip()

    @property
    def file(self) -> str | None:
        """The name of the file that it is, if it is one."""
        named = NAMED.match(self.text)
        return named[1] if named else None


class Step(NamedTuple):
    """A command of a block, and what is shown below it."""

    command: str
    shown: str


def chapters() -> dict[str, str]:
    """The text below each heading of the second level, by heading."""
    _, *parts = re.split(r"(?m)^## (.+)\n", TEXT)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def blocks(chapter: str) -> list[Block]:
    """The fenced blocks of a chapter, in order."""
    return [Block(chapter, *found) for found in FENCE.findall(chapters()[chapter])]


def all_blocks() -> list[Block]:
    """Every fenced block of the README."""
    return [block for chapter in chapters() for block in blocks(chapter)]


def steps(block: Block) -> list[Step]:
    """What is typed: after each `$ ` in a console, line by line elsewhere."""
    if block.language == "sh":
        return [Step(block.text, "")]
    _, *parts = re.split(r"(?m)^\$ (.+)\n", block.text)
    return [Step(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]


def table(chapter: str, first: str) -> list[list[str]]:
    """The rows of the table whose head begins with `first`, without its marks of emphasis."""
    for found in re.findall(r"(?m)^\|.*\n\| ?---.*\n(?:\|.*\n)+", chapters()[chapter]):
        head, _, *rows = [_cells(line) for line in found.splitlines()]
        if head[0] == first:
            return rows
    raise AssertionError(f"no such table: {first}")


def _cells(line: str) -> list[str]:
    cells = re.split(r"(?<!\\)\|", line)[1:-1]
    return [re.sub(r"[`*]", "", cell).replace("\\|", "|").strip() for cell in cells]
