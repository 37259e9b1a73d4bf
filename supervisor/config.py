"""TOML in, frozen values out, every problem named with its key path.

Config knows words and numbers only: no sockets, no imported objects, no operating system.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from supervisor.errors import ConfigError, Exit

Table = Mapping[str, Any]

Seconds = Annotated[float, Meta(ge=0, le=31_536_000)]
Timeout = Annotated[float, Meta(gt=0, le=31_536_000)]
Umask = Annotated[str, Meta(pattern="^(0o?)?[0-7]{3}$")]
Mode = Annotated[str, Meta(pattern="^(0o?)?[0-7]{3}$|^$")]

SUN_PATH: Final = 107  # bytes in a unix socket's path, unix(7)


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table: frozen, keyword only, unknown keys refused."""


class MasterOptions(Options, frozen=True):
    """`[master]`. Times in seconds."""

    user: str = ""
    group: str = ""
    umask: Umask = "0022"
    working_directory: str = ""
    preload: tuple[str, ...] = ()
    start_timeout: Timeout = 30.0
    stop_timeout: Timeout = 10.0
    destroy_timeout: Timeout = 10.0
    restart: Literal["never", "on-crash"] = "never"
    pid_file: str = ""
    runtime_directory: str = ""


class LogOptions(Options, frozen=True):
    """`[log]`."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
    file: str = ""


class Address(msgspec.Struct, frozen=True):
    """Where a listener listens: `tcp` and `udp` have host and port (0 = any), `unix` has a path."""

    scheme: Literal["tcp", "udp", "unix"]
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def is_fixed(self) -> bool:
        """False for port 0, which is another port each time."""
        return self.scheme == "unix" or self.port != 0


class ListenOptions(Options, frozen=True):
    """A `listen` entry in table form. `mode` and `owner` are for unix sockets."""

    address: str
    mode: Mode = ""
    owner: str = ""


class Listen(msgspec.Struct, frozen=True):
    """A `listen` entry, parsed."""

    address: Address
    mode: str = ""
    owner: str = ""


class SectionOptions(Options, frozen=True):
    """The keys that all `[workers.NAME]` have. `backlog` in connections, times in seconds."""

    type: str
    children: Annotated[int, Meta(ge=1, le=65_536)] | Literal["auto"] = 1
    backlog: Annotated[int, Meta(ge=1, le=2**31 - 1)] = 2048
    request_timeout: Seconds = 0.0


COMMON_KEYS: Final = (*SectionOptions.__struct_fields__, "listen")


class TlsOptions(Options, frozen=True):
    """The `tls` table of stream types. `certificate`: PEM file with the chain; `key`: PEM file, ""
    = it is in the certificate's. `minimum`: oldest version. `client_ca`: PEM file; clients must
    show a certificate of it.
    """

    certificate: str
    key: str = ""
    minimum: Literal["1.2", "1.3"] = "1.2"
    client_ca: str = ""


class Section(msgspec.Struct, frozen=True):
    """A worker section. `options` is the table of the type's own options, not yet decoded."""

    name: str
    common: SectionOptions
    listen: tuple[Listen, ...]
    has_listen: bool  # also where no entry of it can be used
    options: Table


class ModuleSection(msgspec.Struct, frozen=True):
    """A `[modules.NAME]`; `type` is the name itself unless given."""

    name: str
    type: str
    options: Table


class Config(msgspec.Struct, frozen=True):
    """A whole configuration file."""

    file: str
    name: str
    master: MasterOptions
    log: LogOptions
    workers: tuple[Section, ...]
    modules: tuple[ModuleSection, ...]


class Problems:
    """Collects what is wrong, one line each, with file and key path."""

    def __init__(self, file: str, overrides: Iterable[str] = ()) -> None:
        self._file = file
        self._overrides = tuple(overrides)
        self.lines: list[str] = []
        self._statuses: set[Exit] = set()

    def add(self, path: str, message: str, status: Exit = Exit.CONFIG) -> None:
        """Note one problem; `status` is what it alone would end the program with."""
        self._statuses.add(status)
        overridden = any(
            path == key or path.startswith((f"{key}.", f"{key}[")) for key in self._overrides
        )
        self.lines.append(f"{'--set' if overridden else self._file}: {path}: {message}")

    def anew(self) -> Problems:
        """A collection of the same file without any problem."""
        return Problems(self._file, self._overrides)

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
    for key in table:
        if key not in fields:
            problems.add(_join(path, key), unknown(key, [*fields, *near]))
    values: dict[str, Any] = {}
    complete = True
    for key, field in fields.items():
        here = _join(path, key)
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


def unknown(name: str, known: Iterable[str], what: str = "key") -> str:
    """`unknown key; did you mean 'children'?`"""
    import difflib

    near = difflib.get_close_matches(name, list(known), n=1)
    return f"unknown {what}" + (f"; did you mean {near[0]!r}?" if near else "")


def load(file: Path, settings: Sequence[str] = ()) -> tuple[Config, Problems]:
    """Read `file`, apply `KEY=VALUE` settings, and decode all but the types' own options.

    Raises ConfigError at once when there is no TOML to speak of; other problems are collected.
    """
    table = _read(file)
    overrides = [_apply(table, setting) for setting in settings]
    problems = Problems(str(file), overrides)
    return _decode_file(file, table, problems), problems


def parse_address(text: str) -> Address:
    """Return the address in `text`. Raises ValueError with the reason."""
    scheme, found, rest = text.partition("://")
    if not found or scheme not in ("tcp", "udp", "unix"):
        raise ValueError("expected tcp://HOST:PORT, udp://HOST:PORT or unix:///PATH")
    if scheme == "unix":
        return _unix_address(rest)
    host, colon, port = rest.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("an IPv6 address stands in brackets: [::1]:PORT")
    if not colon or not host:
        raise ValueError(f"expected {scheme}://HOST:PORT")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:
        raise ValueError(f"port {port!r} is not a number from 0 to 65535")
    return Address(typing.cast(Literal["tcp", "udp"], scheme), host=host, port=int(port))


def _unix_address(path: str) -> Address:
    if not path.startswith("/"):
        raise ValueError("a unix socket needs an absolute path: unix:///run/web.sock")
    if "\0" in path:
        raise ValueError("a path has no NUL byte")
    if len(path.encode()) > SUN_PATH:
        raise ValueError(f"the path has {len(path.encode())} bytes; the system takes {SUN_PATH}")
    return Address("unix", path=path)


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_bytes().decode("utf-8")
        return tomllib.loads(text.replace("\r\n", "\n"))
    except OSError as error:
        raise ConfigError([f"{file}: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        column = error.start - error.object.rfind(b"\n", 0, error.start)
        raise ConfigError([f"{file}: line {line}, column {column}: not UTF-8"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{file}: {_toml_problem(str(error), text)}"]) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError([f"{file}: not readable as TOML: {error}"]) from None


def _toml_problem(message: str, text: str) -> str:
    """`line 3, column 5: Expected '=' after a key`; tomllib says it the other way round."""
    reason, _, place = message.rpartition(" (at ")
    place = place.rstrip(")")
    if not place.startswith("line"):
        lines = text.split("\n")
        place = f"line {len(lines)}, column {len(lines[-1]) + 1}"
    return f"{place}: {reason or message}"


def _apply(table: dict[str, Any], setting: str) -> str:
    """Set one `KEY=VALUE` in `table` and return its key. A value that is no TOML is a string."""
    key, _, value = setting.partition("=")
    key = key.strip()
    for text in (value, json.dumps(value, ensure_ascii=False)):
        try:
            override = tomllib.loads(f"{key} = {text}")
        except (ValueError, RecursionError):
            continue
        if override:
            return _merge(table, override, key)
    raise ConfigError([f"--set: {key}: not a key; write it as workers.web.children"])


def _merge(table: dict[str, Any], override: dict[str, Any], key: str) -> str:
    (name, value), *more = override.items()
    if more:
        raise ConfigError([f"--set: {key}: one value only"])
    inner = table.setdefault(name, {}) if isinstance(value, dict) else None
    if isinstance(value, dict) and isinstance(inner, dict) and len(value) == 1:
        _merge(inner, value, key)
    elif isinstance(value, dict) and inner is not None and not isinstance(inner, dict):
        raise ConfigError([f"--set: {key}: {name!r} is not a table"])
    else:
        table[name] = value
    return key


def _decode_file(file: Path, table: Table, problems: Problems) -> Config:
    known = ("name", "master", "log", "workers", "modules")
    for key in table:
        if key not in known:
            problems.add(_join("", key), unknown(key, known))
    master = decode(MasterOptions, table.get("master", {}), "master", problems)
    log = decode(LogOptions, table.get("log", {}), "log", problems)
    workers = [
        _section(name, entry, problems)
        for name, entry in _tables(table.get("workers", {}), "workers", problems).items()
    ]
    modules = [
        _module(name, entry, problems)
        for name, entry in _tables(table.get("modules", {}), "modules", problems).items()
    ]
    if table.get("workers", {}) == {}:
        problems.add("workers", "no worker section; add one, [workers.NAME]")
    _refuse_duplicates(workers, problems)
    return Config(
        file=str(file),
        name=_name(file, table, problems),
        master=master or MasterOptions(),
        log=log or LogOptions(),
        workers=tuple(workers),
        modules=tuple(modules),
    )


def _name(file: Path, table: Table, problems: Problems) -> str:
    """The server's name: it becomes a directory, so it is a plain word."""
    default = re.sub(r"[^A-Za-z0-9_.-]", "-", file.stem).lstrip(".") or "supervisor"
    name = table.get("name", default)
    if isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}", name):
        return name
    problems.add("name", "expected letters, digits, '_', '-' and '.', at most 64")
    return default


def _tables(value: Any, path: str, problems: Problems) -> dict[str, Table]:
    if not isinstance(value, Mapping):
        problems.add(path, f"expected tables, [{path}.NAME], got {_kind_of(value)}")
        return {}
    for name, entry in value.items():
        if not isinstance(entry, Mapping):
            problems.add(_join(path, name), f"expected a table, got {_kind_of(entry)}")
    return {name: entry for name, entry in value.items() if isinstance(entry, Mapping)}


def _section(name: str, table: Table, problems: Problems) -> Section:
    path = _join("workers", name)
    common = {key: table[key] for key in table if key in COMMON_KEYS and key != "listen"}
    return Section(
        name=name,
        common=decode(SectionOptions, common, path, problems) or SectionOptions(type=""),
        listen=_listen(table.get("listen", []), f"{path}.listen", problems),
        has_listen=bool(table.get("listen")),
        options={key: table[key] for key in table if key not in COMMON_KEYS},
    )


def _module(name: str, table: Table, problems: Problems) -> ModuleSection:
    kind = table.get("type", name)
    if not isinstance(kind, str):
        problems.add(f"{_join('modules', name)}.type", f"expected str, got {_kind_of(kind)}")
        kind = ""
    return ModuleSection(name, kind, {key: table[key] for key in table if key != "type"})


def _listen(value: Any, path: str, problems: Problems) -> tuple[Listen, ...]:
    if not isinstance(value, list):
        problems.add(path, f"expected an array of addresses, got {_kind_of(value)}")
        return ()
    entries: list[Listen] = []
    for index, item in enumerate(value):
        here = f"{path}[{index}]"
        table = {"address": item} if isinstance(item, str) else item
        options = decode(ListenOptions, table, here, problems)
        if options is None:
            continue
        try:
            address = parse_address(options.address)
        except ValueError as error:
            problems.add(here, f"{options.address!r}: {error}")
            continue
        if address.scheme != "unix" and (options.mode or options.owner):
            problems.add(here, "mode and owner are for unix sockets")
        entries.append(Listen(address, options.mode, options.owner))
    return tuple(entries)


def _refuse_duplicates(workers: Iterable[Section], problems: Problems) -> None:
    seen: dict[Address, str] = {}
    for section in workers:
        for listen in section.listen:
            here = _join("workers", section.name) + ".listen"
            if listen.address.is_fixed and listen.address in seen:
                problems.add(here, f"{listen.address} is in {seen[listen.address]} already")
            seen.setdefault(listen.address, here)


def _convert(value: Any, kind: Any, path: str, problems: Problems) -> tuple[bool, Any]:
    """Return (True, converted value), or (False, None) after adding the problem."""
    nested = _struct_in(kind)
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


def _struct_in(kind: Any) -> type[msgspec.Struct] | None:
    """The Struct in `Struct` or `Struct | None`."""
    members = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    for member in members:
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


def _join(path: str, key: str) -> str:
    part = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)
    return f"{path}.{part}" if path else part
