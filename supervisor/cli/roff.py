"""From a small Markdown to the macros of man(7), which groff and mandoc know alike.

Known are headings of the second and third level, paragraphs, lists with `- `, tables, fenced
blocks, and within a text `code`, *emphasis*, **strength** and [links](target).
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Final

_WIDTH: Final = 78
_SPAN: Final = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*|\*(\S|\S[^*]*\S)\*|\[([^\]]+)\]\([^)]+\)")
_FONTS: Final = ("\\fB{}\\fR", "\\fB{}\\fR", "\\fI{}\\fR", "{}")
_BLOCK: Final = re.compile(
    r"^(?P<fence>```\w*\n(?s:.*?)^```)$"
    r"|^(?P<heading>\#\#\#? .+)$"
    r"|^(?P<table>\|.*(?:\n\|.*)*)"
    r"|^(?P<list>- .*(?:\n(?:- |  ).*)*)"
    r"|^(?P<paragraph>\S.*(?:\n(?!```|\#|\||- )\S.*)*)",
    re.MULTILINE,
)


def lines(text: str) -> Iterator[str]:
    """The source of a text of several blocks."""
    last = "heading"
    for found in _BLOCK.finditer(text):
        kind = str(found.lastgroup)
        if kind == "paragraph" and last != "heading":
            yield ".PP"
        yield from _BLOCKS[kind](found[0])
        last = kind


def _heading(text: str) -> Iterator[str]:
    marks, _, title = text.partition(" ")
    yield f".SH {escaped(title.upper())}" if marks == "##" else f".SS {escaped(title)}"


def _list(text: str) -> Iterator[str]:
    for item in re.split(r"(?m)^- ", text)[1:]:
        yield ".IP \\(bu 2"
        yield from filled(item)


def _fence(text: str) -> Iterator[str]:
    yield ".RS 4"
    yield ".EX"
    for line in text.splitlines()[1:-1]:
        yield escaped(line)
    yield ".EE"
    yield ".RE"


def _table(text: str) -> Iterator[str]:
    """The first cell of a row is the term; where there are three or more, the head names them."""
    head, _, *rows = (_cells(line) for line in text.splitlines())
    for term, *rest in rows:
        named = [f"{title}: {cell}" for title, cell in zip(head[1:], rest, strict=True) if cell]
        yield from item(spans(term), rest if len(rest) == 1 else named)


def _cells(line: str) -> list[str]:
    return [cell.replace("\\|", "|").strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def item(term: str, texts: Iterable[str]) -> Iterator[str]:
    """A term, already source, with texts below it, each on lines of its own."""
    yield ".TP"
    yield f"\\fB{_unbold(term)}\\fR"
    for place, text in enumerate(texts):
        if place:
            yield ".br"
        yield from filled(text)


def _unbold(term: str) -> str:
    return term.replace("\\fB", "").replace("\\fR", "")


def filled(text: str) -> Iterator[str]:
    """Lines of source: a filled text is easier to compare, and mandoc wants short lines."""
    words = spans(" ".join(text.split()))
    for line in textwrap.wrap(words, _WIDTH, break_on_hyphens=False, break_long_words=False):
        yield f"\\&{line}" if line.startswith(".") else line


def spans(text: str) -> str:
    """A text with its marks as changes of the font."""
    source, end = "", 0
    for found in _SPAN.finditer(text):
        number = found.lastindex or 0
        inner = _FONTS[number - 1].format(escaped(found[number].replace("`", "")))
        source += escaped(text[end : found.start()]) + inner
        end = found.end()
    return source + escaped(text[end:])


def escaped(text: str) -> str:
    """Text that roff takes as it is (groff_char(7)): what is typed keeps its plain characters."""
    source = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    source = source.replace("^", "\\(ha").replace("~", "\\(ti").replace("`", "\\(ga")
    source = "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in source)
    return f"\\&{source}" if source.startswith(".") else source


_BLOCKS: Final = {
    "fence": _fence,
    "heading": _heading,
    "table": _table,
    "list": _list,
    "paragraph": filled,
}
