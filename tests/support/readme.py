"""README.md and the manual as facts: their chapters, fenced blocks, tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
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


class Document(NamedTuple):
    """The README, or a page of the manual."""

    name: str
    text: str

    def chapters(self) -> dict[str, str]:
        """The text below each heading of the second level, by heading."""
        _, *parts = re.split(r"(?m)^## (.+)\n", self.text)
        return dict(zip(parts[::2], parts[1::2], strict=True))

    def blocks(self, chapter: str) -> list[Block]:
        """The fenced blocks of a chapter, in order."""
        return [Block(chapter, *found) for found in FENCE.findall(self.chapters()[chapter])]

    def all_blocks(self) -> list[Block]:
        """Every fenced block."""
        return [block for chapter in self.chapters() for block in self.blocks(chapter)]

    def table(self, chapter: str, first: str) -> list[list[str]]:
        """The rows of the table whose head begins with `first`, without its marks of emphasis."""
        for found in re.findall(r"(?m)^\|.*\n\| ?---.*\n(?:\|.*\n)+", self.chapters()[chapter]):
            head, _, *rows = [_cells(line) for line in found.splitlines()]
            if head[0] == first:
                return rows
        raise AssertionError(f"no such table: {first}")


def _read(file: Path) -> Document:
    return Document(file.name.removesuffix(".md"), file.read_text(encoding="utf-8"))


README = _read(ROOT / "README.md")
PAGES = [_read(file) for file in sorted((ROOT / "supervisor/cli/pages").glob("*.md"))]
DOCUMENTS = [README, *PAGES]


def steps(block: Block) -> list[Step]:
    """The commands of a block: after each `$ ` in a console, the whole text of a script."""
    if block.language == "sh":
        return [Step(block.text, "")]
    _, *parts = re.split(r"(?m)^\$ (.+)\n", block.text)
    return [Step(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]


def _cells(line: str) -> list[str]:
    cells = re.split(r"(?<!\\)\|", line)[1:-1]
    return [re.sub(r"[`*]", "", cell).replace("\\|", "|").strip() for cell in cells]
