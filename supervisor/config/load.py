"""A file of TOML and the `--set` options in, a Config and its problems out."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from supervisor.config.address import Address, Listen, parse_address
from supervisor.config.decode import Problems, _join, _kind_of, decode, unknown
from supervisor.config.schema import (
    COMMON_KEYS,
    NAMES,
    Config,
    ListenOptions,
    LogOptions,
    MasterOptions,
    ModuleSection,
    Section,
    SectionOptions,
    Table,
    is_name,
)
from supervisor.errors import ConfigError


def load(file: Path, settings: Sequence[str] = ()) -> tuple[Config, Problems]:
    """Read `file`, apply `KEY=VALUE` settings, and decode all but the types' own options.

    Raises ConfigError at once when there is no TOML to speak of; other problems are collected.
    """
    return load_table(file, _read(file), settings)


def load_table(
    file: Path,
    table: dict[str, Any],
    settings: Sequence[str] = (),
    origins: Mapping[str, str] | None = None,
) -> tuple[Config, Problems]:
    """As `load`, for the table of a file that is read already, or was never one.

    `table` is changed: the settings are in it. `origins` tells whence a key is that is not from
    `file`, by key path.
    """
    set_keys = {apply(table, setting): "--set" for setting in settings}
    problems = Problems(str(file), {**(origins or {}), **set_keys})
    return _decode_file(file, table, problems), problems


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


def apply(table: dict[str, Any], setting: str) -> str:
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
    default = re.sub(r"[^A-Za-z0-9_.-]", "-", file.stem).lstrip(".") or "supervisor"
    name = table.get("name", default)
    if is_name(name):
        return str(name)
    problems.add("name", NAMES)
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
