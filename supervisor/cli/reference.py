"""conf/reference.toml as facts: every key, its default, and what it is for.

It is the one text about the keys (a test holds it against the code): the manual page and the
completion of `--set` read it here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

_FILE: Final = Path(__file__).with_name("reference.toml")
_HEADER: Final = re.compile(r"\[([\w.-]+)\]$")
_KEY: Final = re.compile(r"(?:# )?(\w+) = (.*?)(?: +# (.*))?$")


class Key(NamedTuple):
    """One key of a table. `value` is TOML: the default, or an example where there is none."""

    name: str
    value: str
    text: str


class Table(NamedTuple):
    """One table, with the comment that stands above it; the top of the file has no name."""

    name: str
    about: str
    keys: tuple[Key, ...]

    @property
    def kind(self) -> str:
        """The type of a section."""
        return next(key.value for key in self.keys if key.name == "type").strip('"')


def tables() -> list[Table]:
    """Every table of the reference, in its order."""
    return parse(_FILE.read_text(encoding="utf-8"))


def parse(text: str) -> list[Table]:
    """A comment above a line belongs to it, one behind a line goes on in the indented lines
    below.
    """
    found = [Table("", "", ())]
    notes: list[str] = []
    for line in text.splitlines():
        if header := _HEADER.match(line):
            found.append(Table(header[1], " ".join(notes), ()))
        elif entry := _KEY.match(line):
            words = [*notes, entry[3] or ""]
            found[-1] = _with(found[-1], Key(entry[1], entry[2], " ".join(words).strip()))
        elif line.startswith(" "):
            before, last = found[-1].keys[:-1], found[-1].keys[-1]
            more = last._replace(text=f"{last.text} {line.partition('# ')[2]}".rstrip())
            found[-1] = _with(found[-1]._replace(keys=before), more)
        is_note = line.startswith("# ") and not _KEY.match(line)
        notes = [*notes, line[2:]] if is_note else []
    return found


def _with(table: Table, key: Key) -> Table:
    return table._replace(keys=(*table.keys, key))
