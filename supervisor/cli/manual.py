"""The manual: prose from pages/, and in it what is made of the tables that the program goes by.

A line `<!-- made: NAME -->` in a page stands for one of these parts.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

import click

from supervisor.child import registry
from supervisor.cli import roff
from supervisor.cli.man import PAGES
from supervisor.config import keys
from supervisor.config.equivalents import EQUIVALENTS
from supervisor.config.keys import Key
from supervisor.config.schema import Config, LogOptions, MasterOptions, Options
from supervisor.errors import STATUSES
from supervisor.system.signals import described

_DATE: Final = "2026-11-25"  # of the last change of the texts
_FOLDER: Final = Path(__file__).with_name("pages")
_MADE: Final = re.compile(r"^<!-- made: (\w+) -->\n", re.MULTILINE)

_TITLES: Final = {
    1: "User Commands",
    5: "File Formats Manual",
    7: "Miscellaneous Information Manual",
}


def page(name: str, command: click.Group) -> str:
    """A whole page, for the command line that `command` is."""
    title, section = roff.escaped(name.upper()), PAGES[name]
    version = metadata.version("prefork-supervisor")
    head = f'.TH {title} {section} {_DATE} "supervisor {version}" "{_TITLES[section]}"'
    lines = [f'.\\" Made by: supervisor man {name}', head, *_body(source(name), command)]
    return "\n".join(lines) + "\n"


def source(name: str) -> str:
    """The prose of a page, in Markdown, without its title."""
    text = (_FOLDER / f"{name}.{PAGES[name]}.md").read_text(encoding="utf-8")
    return text.partition("\n")[2]


def _body(text: str, command: click.Group) -> Iterator[str]:
    """Prose and made parts in turn: every second part is the name of a made one."""
    for place, part in enumerate(_MADE.split(text)):
        yield from _PARTS[part](command) if place % 2 else roff.lines(part)


def _synopsis(command: click.Group) -> Iterator[str]:
    for place, (name, one) in enumerate(sorted(command.commands.items())):
        words = one.collect_usage_pieces(click.Context(one, info_name=name))
        if place:
            yield ".br"
        yield f".B supervisor {roff.escaped(name)}"
        yield roff.escaped(" ".join(words))


def _commands(command: click.Group) -> Iterator[str]:
    """Every command with its options; the one that nearly all take is told once."""
    context = click.Context(command)
    rows = {
        name: [row for one in each.params if (row := one.get_help_record(context)) and row[1]]
        for name, each in sorted(command.commands.items())
    }
    shared = rows["start"][0]
    others = ", ".join(name for name in rows if shared not in rows[name])
    yield from roff.filled(f"All commands but {others} take:")
    yield from _items([shared])
    for name, own in rows.items():
        yield f".SS supervisor {roff.escaped(name)}"
        yield from roff.lines(inspect.cleandoc(command.commands[name].help or ""))
        yield from _items(row for row in own if row != shared)


def _signals(_: click.Group) -> Iterator[str]:
    for names, master, child in described():
        yield from roff.item(roff.escaped(names), [f"Master: {master}.", f"Child: {child}."])


def _statuses(_: click.Group) -> Iterator[str]:
    return _items(STATUSES)


def _common(_: click.Group) -> Iterator[str]:
    yield from _keys([keys.key_of(Config, "name")])
    for header, shown in (
        ("[master]", keys.keys_of(MasterOptions)),
        ("[log]", keys.keys_of(LogOptions)),
        ("[workers.NAME]", keys.common_keys()),
    ):
        yield f".SS {header}"
        yield from _keys(shown)


def _types(_: click.Group) -> Iterator[str]:
    """Options that types share by a common base are told once, under the names of all."""
    for base, names in _sharers().items():
        yield f".SS [workers.NAME] of type {', '.join(names)}"
        yield from _keys(keys.keys_of(base))
    for name in registry.WORKERS:
        yield from _options(f"[workers.NAME] of type {name}", name)


def _modules(_: click.Group) -> Iterator[str]:
    for name in registry.MODULES:
        yield from _options(f"[modules.{name}]", name)


def _sharers() -> dict[type[Options], list[str]]:
    """The bases of the types' options, each with the types that have it."""
    found: dict[type[Options], list[str]] = {}
    for name in registry.WORKERS:
        base = registry.built_in(name).Options.__base__
        if base is not None and base is not Options and issubclass(base, Options):
            found.setdefault(base, []).append(name)
    return found


def _options(header: str, name: str) -> Iterator[str]:
    kind = registry.built_in(name)
    yield f".SS {roff.escaped(header)}"
    yield from roff.filled(registry.about(kind))
    shared = next((keys.keys_of(base) for base, names in _sharers().items() if name in names), [])
    yield from _keys(key for key in keys.keys_of(kind.Options) if key not in shared)


def _keys(shown: Iterable[Key]) -> Iterator[str]:
    for key in shown:
        value = f" = {key.value}" if key.value else ""
        yield from _items([(f"{key.name}{value}", f"({key.words}) {key.text}")])
        if key.inner:
            yield ".RS"
            yield from _keys(key.inner)
            yield ".RE"


def _items(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, text in rows:
        yield from roff.item(roff.escaped(name), [text])


def _equivalents(_: click.Group) -> Iterator[str]:
    for program, options in EQUIVALENTS.items():
        yield f".SS From {program}"
        yield from _items(
            (
                ", ".join(one.names.split()),
                "; ".join(filter(None, (one.plain, one.note))) or "so here",
            )
            for one in options
        )


_PARTS: Final[dict[str, Callable[[click.Group], Iterator[str]]]] = {
    "synopsis": _synopsis,
    "commands": _commands,
    "signals": _signals,
    "statuses": _statuses,
    "common": _common,
    "equivalents": _equivalents,
    "types": _types,
    "modules": _modules,
}
