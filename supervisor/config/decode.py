"""From a table of TOML to a frozen Struct, with every problem named by its key path."""

from __future__ import annotations

import json
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from supervisor.config.equivalents import meant
from supervisor.errors import ConfigError, Exit


class Problems:
    """Collects what is wrong, one line each, with key path and origin: the file, or what has
    overridden that key of it (`origins`, by key path: "--set", the name of a variable).
    """

    def __init__(self, file: str, origins: Mapping[str, str] | None = None) -> None:
        self._file = file
        self._origins = dict(origins or {})
        self.lines: list[str] = []
        self.raised: dict[str, BaseException] = {}  # by user code, by message: one for each
        self._statuses: set[Exit] = set()

    def add(self, path: str, message: str, status: Exit = Exit.CONFIG) -> None:
        """Note one problem; `status` is what it alone would end the program with."""
        self._statuses.add(status)
        self.lines.append(f"{self._origin_of(path)}: {path}: {message}")

    def add_raised(
        self, path: str, message: str, status: Exit, error: BaseException | None
    ) -> None:
        """Note a problem that `error` of user code has made, where it was one."""
        self.add(path, message, status)
        if error is not None:
            self.raised.setdefault(message, error)

    def is_overridden(self, path: str) -> bool:
        """True where the value at `path` is not the file's."""
        return self._origin_of(path) != self._file

    def _origin_of(self, path: str) -> str:
        found = self._file
        for key, origin in self._origins.items():  # the last one has set it
            if path == key or path.startswith((f"{key}.", f"{key}[")):
                found = origin
        return found

    def anew(self) -> Problems:
        """A collection of the same file without any problem."""
        return Problems(self._file, self._origins)

    def raise_if_any(self) -> None:
        """Raise ConfigError with all problems so far."""
        if self.lines:
            raise ConfigError(self.lines, max(self._statuses))


T = TypeVar("T", bound=msgspec.Struct)


def decode(
    kind: type[T], table: Any, path: str, problems: Problems, near: Iterable[str] = ()
) -> T | None:
    """Return `table` as a `kind`, adding every problem; None when a required key is missing.

    A key with a problem counts as absent, so that the rest is checked as well. `near` are keys that
    belong beside these, for the question what was meant.
    """
    if not isinstance(table, Mapping):
        problems.add(path, f"expected a table, got {_kind_of(table)}")
        table = {}
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    refuse_unknown(kind, table, path, problems, near)
    values: dict[str, Any] = {}
    complete = True
    for key, field in fields.items():
        here = join(path, key)
        if key in table:
            ok, value = _convert(table[key], field.type, here, problems)
            if ok:
                values[field.name] = value
            elif field.required:
                complete = False
        elif field.required:
            problems.add(here, "missing")
            complete = False
    return kind(**values) if complete else None


def refuse_unknown(
    kind: type[msgspec.Struct],
    table: Mapping[str, Any],
    path: str,
    problems: Problems,
    near: Iterable[str] = (),
) -> None:
    """Add each key that a `kind` does not have."""
    fields = [field.encode_name for field in msgspec.structs.fields(kind)]
    for key in table:
        if key not in fields:
            problems.add(join(path, key), unknown(key, [*fields, *near]))


def unknown(name: str, known: Iterable[str], what: str = "key") -> str:
    """`unknown key; did you mean 'children'?`"""
    import difflib

    theirs = meant(name) if what == "key" else ""
    if theirs:
        return f"unknown key; {theirs}"
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"unknown {what}" + (f"; did you mean {near[0]!r}?" if near else "")


def _convert(value: Any, kind: Any, path: str, problems: Problems) -> tuple[bool, Any]:
    """Return (True, converted value), or (False, None) after adding the problem."""
    if not _is_text(value):
        problems.add(path, "holds a NUL or a byte that is not UTF-8")
        return False, None
    nested = struct_in(kind)
    if nested is not None and isinstance(value, Mapping):
        before = len(problems.lines)
        decoded = decode(nested, value, path, problems)
        return decoded is not None and len(problems.lines) == before, decoded
    try:
        converted = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        problems.add(path, _reword(str(error), kind))
        return False, None
    if isinstance(converted, float) and not math.isfinite(converted):
        problems.add(path, "expected a finite number")
        return False, None
    return True, converted


def _is_text(value: Any) -> bool:
    """True where all strings in the value can be paths, names and addresses: no NUL (which only an
    escape in TOML makes), no lone surrogate (an odd byte of the command line, PEP 383).
    """
    if isinstance(value, str):
        return not re.search(r"[\0\ud800-\udfff]", value)
    if isinstance(value, Mapping):
        return all(_is_text(part) for pair in value.items() for part in pair)
    return not isinstance(value, list) or all(map(_is_text, value))


def struct_in(kind: Any) -> type[msgspec.Struct] | None:
    """The Struct in `Struct` or `Struct | None`, annotated or not."""
    while typing.get_origin(kind) is Annotated:
        kind = typing.get_args(kind)[0]
    is_union = typing.get_origin(kind) in (types.UnionType, typing.Union)
    for member in typing.get_args(kind) if is_union else (kind,):
        if isinstance(member, type) and issubclass(member, msgspec.Struct):
            return member
    return None


def _reword(message: str, kind: Any) -> str:
    """msgspec's "Expected `int`, got `str` - at `$[0]`" as "entry [0]: expected int, got str"."""
    text, _, place = message.partition(" - at `$")
    text = text.replace("`", "")
    text = text[:1].lower() + text[1:]
    if text.startswith("invalid enum value"):
        text = f"expected {_choices(kind)}, got {text.removeprefix('invalid enum value ')}"
    if "matching regex" in text:
        text = "expected octal digits such as 0022"
    return f"entry {place.rstrip('`')}: {text}" if place else text


def _choices(kind: Any) -> str:
    """`int or 'auto'` for `int | Literal["auto"]`."""
    if typing.get_origin(kind) is Literal:
        return " or ".join(repr(choice) for choice in typing.get_args(kind))
    if typing.get_origin(kind) is Annotated:
        return _choices(typing.get_args(kind)[0])
    members = typing.get_args(kind)
    return " or ".join(_choices(member) for member in members) if members else str(kind.__name__)


def _kind_of(value: Any) -> str:
    names = {dict: "a table", list: "an array", bool: "bool"}
    return names.get(type(value), type(value).__name__)


def join(path: str, key: str) -> str:
    """The key path of `key` in the table at `path`."""
    part = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)
    return f"{path}.{part}" if path else part
