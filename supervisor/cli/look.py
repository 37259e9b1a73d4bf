"""`stop`, `status`, `stats`, `stack`, `why`, `top`, `console`: a running server from outside."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec
from msgspec import UNSET

from supervisor.cli.options import config_option, name_option, read_config, server_config
from supervisor.errors import NotRunning

if TYPE_CHECKING:
    from supervisor.scoreboard.reader import Slot, Snapshot
    from supervisor.views.asking import Server
    from supervisor.views.records import Status
    from supervisor.views.running import Reader


_STILL_RUNNING: Final = 1


@click.command()
@config_option
@name_option
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait until it is gone.")
def stop(file: Path | None, name: str | None, timeout: float | None) -> None:
    """Stop the server politely and wait until it is gone.

    Waits as long as the configuration lets the server take, unless --timeout is given; then exits
    1.
    """
    from supervisor.views.running import Reader

    config = server_config(file, name)
    if timeout is None:
        timeout = config.master.longest_stop
    try:
        pid, is_gone = Reader(config).stop(timeout)
    except NotRunning as error:
        click.echo(str(error))
        return
    if not is_gone:
        click.echo(f"supervisor: error: pid {pid} still runs after {timeout:g} s", err=True)
        sys.exit(_STILL_RUNNING)
    click.echo(f"{config.name} stopped, pid {pid}")


@click.command()
@config_option
@name_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(file: Path | None, name: str | None, as_json: bool) -> None:
    """Say whether the server runs.

    Exits with 0 if it does, 3 if not.
    """
    from supervisor.views.running import Reader

    config = server_config(file, name)
    try:
        facts = Reader(config).status()
    except NotRunning as error:
        if as_json:
            click.echo('{"running": false}')
        click.echo(str(error), err=as_json)
        sys.exit(error.exit_code)
    click.echo(msgspec.json.encode(facts) if as_json else _status_line(config.name, facts))


def _status_line(name: str, facts: Status) -> str:
    line = (
        f"{name} is {facts.state}, pid {facts.pid}, "
        f"generation {facts.generation}, up {facts.uptime:.0f} s, "
        f"{facts.ready_children} of {facts.children} children ready"
    )
    return f"{line}: {facts.reason}" if facts.reason not in (UNSET, facts.state) else line


@click.command()
@config_option
@name_option
@click.option("--json", "form", flag_value="json", help="Print JSON.")
@click.option("--prometheus", "form", flag_value="prometheus", help="Print Prometheus' format.")
@click.option("--per-child", is_flag=True, help="With --prometheus: a histogram of each child too.")
def stats(file: Path | None, name: str | None, form: str | None, per_child: bool) -> None:
    """Print the statistics of the running server. Never involves the master."""
    reader = _reader(file, name)
    snapshot = reader.snapshot()
    if form == "json":
        from supervisor.views import statistics

        click.echo(msgspec.json.encode(statistics.contract(statistics.of(snapshot))))
    elif form == "prometheus":
        from supervisor.views import application, metrics, statistics

        facts = statistics.of(snapshot, per_child=per_child)
        own = application.read(reader.find()[0].path, snapshot.pid)
        click.echo(metrics.expose(facts, own, per_child=per_child).body, nl=False)
    else:
        _print_table(snapshot)


@click.command()
@config_option
@name_option
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    help="Seconds between two looks.",
)
def top(file: Path | None, name: str | None, interval: float) -> None:
    """Show the server live: rates, latencies, every child. Never involves the master.

    q quits; c, r, m and s sort the children by CPU, requests, memory and slot. Where the output is
    no terminal, it is one plain snapshot.
    """
    reader = _reader(file, name)
    if not (_has_terminal() and sys.stdin.isatty()):
        _print_table(reader.snapshot())
        return
    from supervisor.cli import top
    from supervisor.system import process

    ended = top.run(reader, interval)
    if ended is not None:
        process.die_of(ended)


@click.command()
@click.argument("slot", type=int, required=False)
@config_option
@name_option
@click.option("--full", is_flag=True, help="Show every frame, those of libraries too.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=2.0,
    show_default=True,
    help="Seconds that a child may take to tell its tasks.",
)
def stack(
    slot: int | None, file: Path | None, name: str | None, full: bool, timeout: float
) -> None:
    """Tell what each child does now, or the one in SLOT.

    The Python stacks of all its threads, also inside C code, and all tasks of asyncio with what
    they await, innermost first. No child is stopped, and the master takes no part.
    """
    from supervisor.views import asking, doing

    server, slots = _server_and_slots(_reader(file, name), slot)
    first = True
    for answer in asking.ask(server, slots, timeout):
        click.echo(("" if first else "\n") + doing.told(answer, is_whole=full))
        first = False


def _server_and_slots(reader: Reader, number: int | None) -> tuple[Server, list[Slot]]:
    from supervisor.views.asking import Server

    found, master = reader.find()
    snapshot = reader.snapshot()
    slots = [slot for slot in snapshot.slots if number in (None, slot.number)]
    if not slots:
        known = f"there are 0 to {len(snapshot.slots) - 1}"
        raise click.BadParameter(f"no slot {number}: {known}", param_hint="SLOT")
    return Server(found, master, snapshot.generation), slots


@click.command()
@config_option
@name_option
def why(file: Path | None, name: str | None) -> None:
    """Tell the last ten crashes and other failures.

    Forced stops and failed renewals are among them; the newest is the first. Of a traceback
    the application's own frames are shown first; the log has all of it.
    """
    from supervisor.views import crashes

    snapshot = _reader(file, name).snapshot()
    told = list(crashes.why(snapshot.history))
    click.echo("\n\n".join(told) or f"{snapshot.description.name}: nothing went wrong so far")


@click.command()
@config_option
@name_option
def console(file: Path | None, name: str | None) -> None:
    """Open a prompt on the running server.

    It shows statistics, signals children, and stops the server. Ctrl-C ends the running
    command, Ctrl-D leaves. Commands may also be piped into it.
    """
    from supervisor.cli import console
    from supervisor.system import process
    from supervisor.views import table

    config = server_config(file, name) if name else read_config(file)[0]
    ended = console.Console(config, table.coloured if _wants_colour() else table.plain).run()
    if ended is not None:
        process.die_of(ended)


def _print_table(snapshot: Snapshot) -> None:
    from supervisor.views import statistics, table

    facts = statistics.of(snapshot, with_pss=False)
    click.echo(table.table(facts, table.coloured if _wants_colour() else table.plain))


def _reader(file: Path | None, name: str | None) -> Reader:
    from supervisor.views.running import Reader

    config = server_config(file, name)
    return Reader(config)


def _wants_colour() -> bool:
    return _has_terminal() and not os.environ.get("NO_COLOR")


def _has_terminal() -> bool:
    """True when a person looks at a screen that can be painted."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
