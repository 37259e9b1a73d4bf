"""The manual page supervisor(1), made of the tables that the program itself goes by.

In the macros of man(7), which groff and mandoc know alike.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from importlib import metadata
from typing import Final

import click

from supervisor.child import registry
from supervisor.config import keys
from supervisor.config.keys import Key
from supervisor.config.schema import LogOptions, MasterOptions
from supervisor.errors import STATUSES
from supervisor.system.signals import described

_DATE: Final = "2026-11-22"  # of the last change of the texts below
_WIDTH: Final = 78

_DESCRIPTION: Final = """\
A master binds the sockets, loads the modules, forks a fixed set of children and then waits for
signals, using no CPU at all. The children accept connections on the shared sockets themselves.
When a child dies unexpectedly the whole server goes down, in order, and explains itself in one log
entry: a dead child may have held a lock or left shared state half written, and a clean restart is
cheaper than a server that is subtly wedged.

The log goes to standard error. Expected errors are one line there, beginning with
"supervisor: error:", and never a traceback.
"""

_OTHER_STATUSES: Final = (
    ("0", "stop: the server is gone, or was not there; status: it runs"),
    ("1", "stop: it still runs after the timeout"),
    ("2", "wrong command line"),
    ("3", "status, stats, top, console: nothing runs"),
    ("69", "an optional package is missing; the line says how to install it"),
    ("76, 77, 78", "check, and what reads the configuration: as start would"),
)

_ENVIRONMENT: Final = (
    ("SUPERVISOR_CONFIG", "the configuration file, where there is no -c"),
    ("RUNTIME_DIRECTORY, XDG_RUNTIME_DIR", "where the runtime directory is, see master"),
    ("NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID", "the service manager, see sd_notify(3)"),
    ("LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES", "inherited sockets, see sd_listen_fds(3)"),
    ("JOURNAL_STREAM", "set by systemd: the log has the journal's form"),
    ("NO_COLOR, TERM", "no colour when set, or dumb"),
    ("XDG_STATE_HOME", "below it the history of the console"),
)

_FILES: Final = (
    ("./supervisor.toml, ./conf/supervisor.toml", "the configuration, where none is named"),
    ("/run/NAME", "runtime directory of root's servers: lock, pid and statistics"),
)

_EXAMPLES: Final = (
    ("supervisor init", "Write a commented configuration to start from"),
    ("supervisor start --set workers.web.children=8", "Start it with one key changed"),
    ("supervisor stats --json", "Look at it"),
    ("supervisor unit -c /etc/web/web.toml", "Print its systemd units"),
    ("supervisor man | man -l -", "Read this page"),
    ("source <(supervisor completion bash)", "Complete commands, options and keys in this shell"),
)


def page(command: click.Group) -> str:
    """The whole page, for the command line that `command` is."""
    version = metadata.version("prefork-supervisor")
    lines = [
        '.\\" Made by: supervisor man',
        f'.TH SUPERVISOR 1 {_DATE} "supervisor {version}" "User Commands"',
        *_chapter("Name", ["supervisor \\- preforking multi\\-process server supervisor"]),
        *_chapter("Synopsis", _synopsis(command)),
        *_chapter("Description", _paragraphs(_DESCRIPTION)),
        *_chapter("Commands", _commands(command)),
        *_chapter("Signals", _signals()),
        *_chapter("Exit status", _statuses()),
        *_chapter("Configuration", _configuration()),
        *_chapter("Environment", _items(_ENVIRONMENT)),
        *_chapter("Files", _items(_FILES)),
        *_chapter("Examples", _items((line, f"{does}.") for line, does in _EXAMPLES)),
        *_chapter("See also", [".BR systemd.service (5),", ".BR signal (7),", ".BR sysexits (3)"]),
    ]
    return "\n".join(lines) + "\n"


def _chapter(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield f".SH {title.upper()}"
    yield from lines


def _synopsis(command: click.Group) -> Iterator[str]:
    for place, (name, one) in enumerate(sorted(command.commands.items())):
        words = one.collect_usage_pieces(click.Context(one, info_name=name))
        if place:
            yield ".br"
        yield f".B supervisor {_text(name)}"
        yield _text(" ".join(words))


def _commands(command: click.Group) -> Iterator[str]:
    """Every command with its options; the one that nearly all take is told once."""
    context = click.Context(command)
    rows = {
        name: [row for one in each.params if (row := one.get_help_record(context)) and row[1]]
        for name, each in sorted(command.commands.items())
    }
    shared = rows["start"][0]
    others = ", ".join(name for name in rows if shared not in rows[name])
    yield from _paragraphs(f"All commands but {others} take:")
    yield from _item(*shared)
    for name, own in rows.items():
        yield f".SS supervisor {_text(name)}"
        yield from _paragraphs(inspect.cleandoc(command.commands[name].help or ""))
        yield from _items(row for row in own if row != shared)


def _signals() -> Iterator[str]:
    for names, master, child in described():
        yield from _item(names, f"Master: {master}.")
        yield ".br"
        yield from _filled(f"Child: {child}.")


def _statuses() -> Iterator[str]:
    yield ".SS Of supervisor start"
    yield from _items(STATUSES)
    yield ".SS Of the other commands"
    yield from _items(_OTHER_STATUSES)


def _configuration() -> Iterator[str]:
    yield from _paragraphs(
        "The file is TOML. Each key is shown with its default, or with an example where it is "
        "required."
    )
    for header, shown in (
        ("[master]", keys.keys_of(MasterOptions)),
        ("[log]", keys.keys_of(LogOptions)),
        ("[workers.NAME]", keys.common_keys()),
    ):
        yield f".SS {header}"
        yield from _keys(shown)
    for name in registry.WORKERS:
        yield from _options(f"[workers.NAME] of type {name}", name)
    for name in registry.MODULES:
        yield from _options(f"[modules.{name}]", name)


def _options(header: str, name: str) -> Iterator[str]:
    kind = registry.built_in(name)
    yield f".SS {_text(header)}"
    yield from _paragraphs(registry.about(kind))
    yield from _keys(keys.keys_of(kind.Options))


def _keys(shown: Iterable[Key]) -> Iterator[str]:
    for key in shown:
        yield from _item(f"{key.name} = {key.value}", f"({key.words}) {key.text}")
        if key.inner:
            yield ".RS"
            yield from _keys(key.inner)
            yield ".RE"


def _items(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, text in rows:
        yield from _item(name, text)


def _item(name: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield f"\\fB{_text(name)}\\fR"
    yield from _filled(text)


def _paragraphs(text: str) -> Iterator[str]:
    for place, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        if place:
            yield ".PP"
        yield from _filled(paragraph)


def _filled(text: str) -> Iterator[str]:
    """Lines of source: a filled text is easier to compare, and mandoc wants short lines."""
    words = _text(" ".join(text.split()))
    for line in textwrap.wrap(words, _WIDTH, break_on_hyphens=False, break_long_words=False):
        yield f"\\&{line}" if line.startswith(".") else line


def _text(text: str) -> str:
    """Text that roff takes as it is (groff_char(7)): what is typed keeps its plain characters."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    escaped = escaped.replace("^", "\\(ha").replace("~", "\\(ti").replace("`", "\\(ga")
    return f"\\&{escaped}" if escaped.startswith(".") else escaped
