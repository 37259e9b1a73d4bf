"""A configuration as text, made of tables: `run --print`, `init` and `convert` write with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from supervisor.config.keys import bare, to_toml

_NESTED: Final = ("workers", "modules")  # tables of tables


def text(table: Mapping[str, Any], comments: Mapping[str, str] | None = None) -> str:
    """The whole file. `comments` are by key path; the one of "" is the file's first line."""
    return "\n".join(_lines(table, comments or {})).strip("\n") + "\n"


def _lines(table: Mapping[str, Any], comments: Mapping[str, str]) -> Iterator[str]:
    if "" in comments:
        yield f"# {comments['']}"
    yield from (
        _pair(key, value, comments.get(key)) for key, value in table.items() if not _is_table(value)
    )
    for key, value in table.items():
        if key in _NESTED and _is_table(value):
            for name, section in value.items():
                yield from _table(f"{key}.{bare(name)}", section, comments)
        elif _is_table(value):
            yield from _table(key, value, comments)


def _table(header: str, table: Mapping[str, Any], comments: Mapping[str, str]) -> Iterator[str]:
    yield f"\n[{header}]"
    for key, value in table.items():
        yield _pair(key, value, comments.get(f"{header}.{key}"))


def _pair(key: str, value: Any, comment: str | None) -> str:
    line = f"{bare(key)} = {to_toml(value)}"
    return f"{line}  # {comment}" if comment else line


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)
