"""`stop`, `status`, `stats`, `top`, `console`: a running server from outside."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from supervisor.cli.options import (
    config_option,
    read_config,
)
from supervisor.config.schema import Config
from supervisor.errors import (
    Exit,
    NotRunning,
    ScoreboardError,
)

if TYPE_CHECKING:
    from supervisor.config.schema import Config
    from supervisor.scoreboard.reader import Snapshot
    from supervisor.views.running import Reader


_STILL_RUNNING: Final = 1


@click.command()
@config_option
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait until it is gone.")
def stop(file: Path | None, timeout: float | None) -> None:
    """Stop the server politely and wait until it is gone.

    Waits as long as the configuration lets the server take, unless --timeout is given; then exits
    1.
    """
    from supervisor.views.running import Reader

    config, _ = read_config(file)
    if timeout is None:
        timeout = config.master.stop_timeout + config.master.destroy_timeout + 5.0
    try:
        pid, is_gone = Reader(config).stop(timeout)
    except NotRunning as error:
        click.echo(str(error))
        return
    if not is_gone:
        click.echo(f"supervisor: error: pid {pid} still runs after {timeout:g} s", err=True)
        sys.exit(_STILL_RUNNING)
    click.echo(f"{config.name} stopped, pid {pid}")


def _find(config: Config) -> Any:
    from supervisor.system.runtime import find_running

    return find_running(config.name, config.master.runtime_directory)


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(file: Path | None, as_json: bool) -> None:
    """Say whether the server runs: exit status 0 if it does, 3 if not."""
    from supervisor.scoreboard import reader
    from supervisor.views import picture

    config, _ = read_config(file)
    found = _find(config)
    if found is None:
        click.echo(json.dumps({"running": False}) if as_json else f"{config.name} is not running")
        sys.exit(Exit.NOT_RUNNING)
    directory, pid = found
    facts: dict[str, Any] = {"running": True, "pid": pid, "state": "starting", "generation": 0}
    facts |= {"uptime": 0.0, "children": 0, "ready_children": 0}
    with contextlib.suppress(FileNotFoundError, ScoreboardError):
        facts = picture.status(reader.read(directory.scoreboard))
    if as_json:
        click.echo(json.dumps(facts))
        return
    click.echo(
        f"{config.name} is {facts['state']}, pid {facts['pid']}, "
        f"generation {facts['generation']}, up {facts['uptime']:.0f} s, "
        f"{facts['ready_children']} of {facts['children']} children ready"
    )


@click.command("stats")
@config_option
@click.option("--json", "form", flag_value="json", help="Print JSON.")
@click.option("--prometheus", "form", flag_value="prometheus", help="Print Prometheus' format.")
def statistics(file: Path | None, form: str | None) -> None:
    """Print the statistics of the running server. Never involves the master."""
    snapshot = _reader(file).snapshot()
    if form == "json":
        from supervisor.views import picture

        click.echo(json.dumps(picture.picture(snapshot, with_pss=True)))
    elif form == "prometheus":
        from supervisor.views import metrics

        click.echo(metrics.expose(snapshot).body, nl=False)
    else:
        _print_table(snapshot)


@click.command()
@config_option
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    help="Seconds between two looks.",
)
def top(file: Path | None, interval: float) -> None:
    """Show the server live: rates, latencies, every child. Never involves the master.

    q quits; c, r, m and s sort the children by CPU, requests, memory and slot. Where the output is
    no terminal, it is one plain snapshot.
    """
    reader = _reader(file)
    if not (_has_terminal() and sys.stdin.isatty()):
        _print_table(reader.snapshot())
        return
    from supervisor.cli import top
    from supervisor.system import process

    ended = top.run(reader, interval)
    if ended is not None:
        process.die_of(ended)


@click.command()
@config_option
def console(file: Path | None) -> None:
    """Open a prompt to look at the running server, signal its children, and stop it.

    Ctrl-C ends the running command, Ctrl-D leaves. Commands may also be piped into it.
    """
    from supervisor.cli import console
    from supervisor.system import process
    from supervisor.views import table

    config, _ = read_config(file)
    ended = console.Console(config, table.coloured if _wants_colour() else table.plain).run()
    if ended is not None:
        process.die_of(ended)


def _print_table(snapshot: Snapshot) -> None:
    from supervisor.views import picture, table

    facts = picture.detailed(snapshot, with_pss=False)
    click.echo(table.table(facts, table.coloured if _wants_colour() else table.plain))


def _reader(file: Path | None) -> Reader:
    from supervisor.views.running import Reader

    config, _ = read_config(file)
    return Reader(config)


def _wants_colour() -> bool:
    return _has_terminal() and not os.environ.get("NO_COLOR")


def _has_terminal() -> bool:
    """True when a person looks at a screen that can be painted."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
