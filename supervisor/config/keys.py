"""Each key of a table as facts for people: its type in words, its default as TOML, its one text.

All of it is read from the fields of a Struct (`schema`, and the Options of each type); whoever
tells people about keys asks here.
"""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from supervisor.config.decode import struct_in
from supervisor.config.schema import Entries, ListenOptions, SectionOptions

_WORDS: Final = {str: "string", int: "integer", float: "number", bool: "true or false"}
_BOUNDS: Final = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))


class Key(NamedTuple):
    """One key of a table.

    `kind` is the type in words. `default` is a Python value, None where the key is required or may
    be absent. `inner` are the keys of a table in the table.
    """

    name: str
    kind: str
    is_required: bool
    default: Any
    example: Any
    unit: str
    text: str
    inner: tuple[Key, ...]

    @property
    def value(self) -> str:
        """The default as TOML, else the example, else "" where there is neither."""
        shown = self.example if self.default is None else self.default
        if shown is None and self.inner:
            shown = {k.name: k.example if k.is_required else k.default for k in self.inner}
        return "" if shown is None else to_toml(shown)

    @property
    def words(self) -> str:
        """The type with its unit, and whether the key is required."""
        unit = f", {self.unit}" if self.unit else ""
        return f"{self.kind}{unit}{', required' if self.is_required else ''}"


def keys_of(kind: type[msgspec.Struct]) -> list[Key]:
    """The keys of a table, in the order of the fields."""
    return [_key(field) for field in msgspec.structs.fields(kind)]


def common_keys() -> list[Key]:
    """The keys that all worker sections have, `listen` behind `children`."""
    inner = tuple(keys_of(ListenOptions))
    listen = Key("listen", "array", False, [], None, "", _Notes(Entries).text, inner)
    found = keys_of(SectionOptions)
    return [*found[:2], listen, *found[2:]]


def to_toml(value: Any) -> str:
    """A value of a configuration as TOML; tables are written inline."""
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{bare(key)} = {to_toml(item)}" for key, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, str | bool):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Sequence):
        return f"[{', '.join(map(to_toml, value))}]"
    return repr(value)


def bare(key: str) -> str:
    """A key as TOML: in quotes where it must be."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def key_of(kind: type[msgspec.Struct], name: str) -> Key:
    """One key of a table."""
    return next(key for key in keys_of(kind) if key.name == name)


def _key(field: msgspec.structs.FieldInfo) -> Key:
    notes = _Notes(field.type)
    nested = struct_in(field.type)
    return Key(
        name=field.encode_name,
        kind=in_words(field.type),
        is_required=field.required,
        default=_default_of(field),
        example=notes.example,
        unit=notes.unit,
        text=notes.text,
        inner=tuple(keys_of(nested)) if nested else (),
    )


def _default_of(field: msgspec.structs.FieldInfo) -> Any:
    if field.required:
        return None
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


class _Notes:
    """The Metas of a type, put together."""

    def __init__(self, kind: Any) -> None:
        metas = list(_metas(kind))
        self.text = next((meta.description for meta in metas if meta.description), "")
        self.example = next((meta.examples[0] for meta in metas if meta.examples), None)
        self.unit = next((meta.extra["unit"] for meta in metas if meta.extra), "")


def _metas(kind: Any) -> Iterator[Meta]:
    if typing.get_origin(kind) is Annotated:
        inner, *notes = typing.get_args(kind)
        yield from (note for note in notes if isinstance(note, Meta))
        yield from _metas(inner)


def in_words(kind: Any) -> str:
    """A type as a person says it: `integer >= 1 or "auto"`."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return in_words(arguments[0]) + _bounds(kind)
    if origin is Literal:
        *others, last = (to_toml(word) for word in arguments)
        return f"{', '.join(others)} or {last}" if others else last
    if origin in (types.UnionType, typing.Union):
        return " or ".join(in_words(one) for one in arguments if one is not type(None))
    if struct_in(kind) is not None:
        return "table"
    if origin in (tuple, list):
        return f"array of {_plural(in_words(arguments[0]))}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"table of {_plural(in_words(arguments[1]))}"
    return _WORDS.get(kind, "value")


def _bounds(kind: Any) -> str:
    found = {
        sign: getattr(meta, name)
        for meta in _metas(kind)
        for name, sign in _BOUNDS
        if getattr(meta, name) is not None
    }
    if found.keys() == {">=", "<="}:
        return f" {found['>=']} to {found['<=']}"
    words = " and ".join(f"{sign} {bound}" for sign, bound in found.items())
    return f" {words}" if words else ""


def _plural(words: str) -> str:
    noun, space, rest = words.partition(" ")
    return f"{noun}s{space}{rest}"
