"""A file of TOML and the `--set` options in, a Config and its problems out."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from supervisor.config.address import Address, Listen, parse_address
from supervisor.config.decode import Problems, _kind_of, decode, join, unknown
from supervisor.config.environment import expand, overrides
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


def load(
    file: Path, settings: Sequence[str] = (), environ: Mapping[str, str] = os.environ
) -> tuple[Config, Problems]:
    """Read `file`, apply the environment and `KEY=VALUE` settings, and decode all but the types'
    own options.

    Raises ConfigError at once when there is no TOML to speak of; other problems are collected.
    """
    found: dict[str, str] = {}
    table = expand(_own_table(file, _read(file)), environ, found)
    config, problems = load_table(file, table, settings, environ=environ)
    for path, message in found.items():
        if not problems.is_overridden(path):
            problems.add(path, message)
    return config, problems


def load_table(
    file: Path,
    table: dict[str, Any],
    settings: Sequence[str] = (),
    origins: Mapping[str, str] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> tuple[Config, Problems]:
    """As `load`, for the table of a file that is read already, or was never one.

    `table` is changed: what overrides it is in it. `origins` tells whence a key is that is not from
    `file`, by key path.
    """
    found = dict(origins or {})
    for variable, key, value in list(overrides(environ, table)):
        found[apply(table, f"{key}={value}", variable)] = variable
    for setting in settings:
        found[apply(table, setting)] = "--set"
    problems = Problems(str(file), found)
    return _decode_file(file, table, problems), problems


def identify(file: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Who the server of `file` is: its name and `[master]`, as far as they can be read.

    For what looks for a running server, whatever has happened to the file since it was started:
    of a broken one the lines before the fault count, of a wrong key the default. Raises ConfigError
    where there is no file.
    """
    try:
        table = _read(file)
    except ConfigError:
        table = _beginning(file)
    with contextlib.suppress(ConfigError):
        table = expand(_own_table(file, table), environ, {})
    for variable, key, value in list(overrides(environ, table)):
        with contextlib.suppress(ConfigError):
            apply(table, f"{key}={value}", variable)
    problems = Problems(str(file))
    master = decode(MasterOptions, table.get("master", {}), "master", problems)
    name = _name(file, table, problems)
    return Config(str(file), name, master or MasterOptions(), LogOptions(), (), ())


def _beginning(file: Path) -> dict[str, Any]:
    """The table of as many lines as make sense."""
    try:
        lines = file.read_bytes().decode("utf-8", "replace").splitlines()
    except OSError as error:
        raise ConfigError([f"{file}: {error.strerror}"]) from None
    while lines:
        lines.pop()
        with contextlib.suppress(ValueError, RecursionError):
            return tomllib.loads("\n".join(lines))
    return {}


def has_own_table(project: Path) -> bool:
    """True for a pyproject.toml with a table `[tool.supervisor]`."""
    try:
        return "supervisor" in tomllib.loads(project.read_text("utf-8")).get("tool", {})
    except (OSError, ValueError, TypeError):
        return False


def _own_table(file: Path, table: dict[str, Any]) -> dict[str, Any]:
    """Of a pyproject.toml its `[tool.supervisor]`, named as the project is."""
    if file.name != "pyproject.toml":
        return table
    own = table.get("tool", {}).get("supervisor", {})
    if not isinstance(own, dict) or not own:
        raise ConfigError([f"{file}: no table [tool.supervisor]"])
    name = table.get("project", {}).get("name")
    return own if name is None else {"name": name, **own}


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


def apply(table: dict[str, Any], setting: str, origin: str = "--set") -> str:
    """Set one `KEY=VALUE` in `table` and return its key. A value that is no TOML is a string."""
    key, _, value = setting.partition("=")
    key = key.strip()
    for text in (value, json.dumps(value, ensure_ascii=False)):
        try:
            override = tomllib.loads(f"{key} = {text}")
        except (ValueError, RecursionError):
            continue
        if override:
            return _merge(table, override, key, origin)
    raise ConfigError([f"{origin}: {key}: not a key; write it as workers.web.children"])


def _merge(table: dict[str, Any], override: dict[str, Any], key: str, origin: str) -> str:
    (name, value), *more = override.items()
    if more:
        raise ConfigError([f"{origin}: {key}: one value only"])
    inner = table.setdefault(name, {}) if isinstance(value, dict) else None
    if isinstance(value, dict) and isinstance(inner, dict) and len(value) == 1:
        _merge(inner, value, key, origin)
    elif isinstance(value, dict) and inner is not None and not isinstance(inner, dict):
        raise ConfigError([f"{origin}: {key}: {name!r} is not a table"])
    else:
        table[name] = value
    return key


def _decode_file(file: Path, table: Table, problems: Problems) -> Config:
    known = ("name", "master", "log", "workers", "modules")
    for key in table:
        if key not in known:
            problems.add(join("", key), unknown(key, known))
    master = decode(MasterOptions, table.get("master", {}), "master", problems)
    log = decode(LogOptions, table.get("log", {}), "log", problems)
    workers = [
        _section(name, entry, file, problems)
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
            problems.add(join(path, name), f"expected a table, got {_kind_of(entry)}")
    return {name: entry for name, entry in value.items() if isinstance(entry, Mapping)}


def _section(name: str, table: Table, file: Path, problems: Problems) -> Section:
    path = join("workers", name)
    common = {key: table[key] for key in table if key in COMMON_KEYS and key != "listen"}
    if isinstance(common.get("env_file"), str) and common["env_file"]:
        common["env_file"] = str(file.parent.absolute() / common["env_file"])
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
        problems.add(f"{join('modules', name)}.type", f"expected str, got {_kind_of(kind)}")
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
            here = join("workers", section.name) + ".listen"
            if listen.address.is_fixed and listen.address in seen:
                problems.add(here, f"{listen.address} is in {seen[listen.address]} already")
            seen.setdefault(listen.address, here)
