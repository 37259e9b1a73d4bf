"""The reference file: every key with its default and its text, made from the fields of the code.

`supervisor types --toml` prints it, conf/reference.toml is it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from supervisor.child import registry
from supervisor.child.worker import Worker
from supervisor.config import keys
from supervisor.config.keys import Key, to_toml
from supervisor.config.schema import (
    Config,
    ListenOptions,
    LogOptions,
    MasterOptions,
    ModuleSection,
)

_WIDTH: Final = 100
_COLUMN: Final = 26  # where a comment begins behind a key
_FIRST_PORT: Final = 7000

_TOP: Final = """\
# Made by `supervisor types --toml`: every key, with its default value, its unit and its meaning.
# A key marked (required) has no default: what stands here is an example. One with # before it is
# absent by default. Override any key for one start: supervisor start --set workers.tcp.children=8
"""
_SECTIONS: Final = """\
# Worker sections have any name and start in file order. The first one here shows the keys that all
# of them have."""
_MODULES: Final = """\
# The section of a module has its name, or any name and type = "package.module:Class"."""


def text() -> str:
    """The whole file."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield _TOP
    yield from _key(_optional(Config, "name"), '"reference"')
    yield from _table("master", keys.keys_of(MasterOptions))
    yield from _table("log", keys.keys_of(LogOptions))
    yield f"\n{_SECTIONS}"
    for place, name in enumerate(registry.WORKERS):
        yield from _worker(name, _FIRST_PORT + place, with_common=not place)
    yield f"\n{_MODULES}"
    for name in registry.MODULES:
        yield from _module(name)


def _table(header: str, shown: Iterable[Key]) -> Iterator[str]:
    yield f"\n[{header}]"
    for key in shown:
        yield from _key(key, key.value)


def _worker(name: str, port: int, *, with_common: bool) -> Iterator[str]:
    kind = registry.built_in(name)
    assert issubclass(kind, Worker)
    yield from _heading(f"workers.{name}", name, kind)
    addresses = _addresses(kind, port, with_common=with_common)
    if with_common:
        for key in keys.common_keys():
            yield from _key(
                key, addresses if key.name == "listen" else key.value.replace("{type}", name)
            )
    else:
        yield f"type = {to_toml(name)}"
        yield from [f"listen = {addresses}"] if kind.needs_listener else []
    for key in keys.keys_of(kind.Options):
        yield from _key(key, key.value.replace("{type}", name))


def _addresses(kind: type[Worker], port: int, *, with_common: bool) -> str:
    """An address of each form that the type can have; those of the first section show all."""
    scheme = "udp" if kind.schemes == {"udp"} else "tcp"
    plain = f"{scheme}://127.0.0.1:{port}"
    table = {key.name: key.example or key.default for key in keys.keys_of(ListenOptions)}
    return to_toml([plain, table] if with_common else [plain])


def _module(name: str) -> Iterator[str]:
    kind = registry.built_in(name)
    yield from _heading(f"modules.{name}", name, kind)
    yield from _key(_optional(ModuleSection, "type"), to_toml(name))
    for key in keys.keys_of(kind.Options):
        yield from _key(key, key.value)


def _optional(kind: type[msgspec.Struct], name: str) -> Key:
    """A key that a file may leave out although the field has no default."""
    return keys.key_of(kind, name)._replace(is_required=False)


def _heading(header: str, name: str, kind: type) -> Iterator[str]:
    yield ""
    yield from _comment(f"{name}: {registry.about(kind)}")
    yield f"[{header}]"


def _key(key: Key, value: str) -> Iterator[str]:
    """A comment stands behind its key where there is room, else above it."""
    is_absent = key.default is None and not key.is_required and key.example is None and key.inner
    shown = f"{'#' if is_absent else ''}{key.name} = {value}"
    note = explained(key)
    line = f"{shown:<{_COLUMN}}  # {note}"
    if not key.inner and len(line) <= _WIDTH:
        yield line
        return
    yield from _comment(note)
    for inner in key.inner:
        yield from _comment(f"  {inner.name}: {explained(inner)}")
    yield shown


def explained(key: Key) -> str:
    """The text of a key behind its marks: whether it is required, its unit."""
    marks = [mark for mark in ("required" if key.is_required else "", key.unit) if mark]
    return f"({', '.join(marks)}) {key.text}" if marks else key.text


def _comment(words: str) -> Iterator[str]:
    indent = words[: len(words) - len(words.lstrip())]
    for line in textwrap.wrap(
        words, _WIDTH, initial_indent="# ", subsequent_indent=f"# {indent}", break_on_hyphens=False
    ):
        yield line.rstrip()
