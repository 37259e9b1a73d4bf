"""`reload`: the running master is asked for a successor, and what becomes of it is shown."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from supervisor.cli.options import config_option, name_option, server_config, set_option
from supervisor.errors import Exit, NoPermission, NotRunning

if TYPE_CHECKING:
    from supervisor.config.schema import Config
    from supervisor.master.succession.messages import Ask, Done
    from supervisor.system.channel import Channel


@click.command()
@config_option
@name_option
@set_option
@click.option(
    "--probation",
    type=click.FloatRange(min=0),
    default=0.0,
    help="Seconds in which both serve, and no child of the new one may die. [default: 0]",
)
@click.option(
    "--timeout", type=click.FloatRange(min=0), help="Seconds that the new one has to become ready."
)
def reload(
    file: Path | None,
    name: str | None,
    settings: tuple[str, ...],
    probation: float,
    timeout: float | None,
) -> None:
    """Replace the server by a new version, without a gap.

    One of new code and of the configuration as it is now is started beside it, and takes over when
    all of it is ready. If it fails the old one goes on, and the status is that of such a start.
    """
    from supervisor.master.succession.messages import Ask

    config = server_config(file, name)
    done = ask(config, Ask(settings, probation, timeout))
    if done.status != Exit.OK:
        click.echo(f"supervisor: error: {done.line}", err=True)
        sys.exit(done.status)
    click.echo(f"{config.name} reloaded, pid {done.pid}")


def ask(config: Config, what: Ask) -> Done:
    """Ask the master for a successor, and wait for the end. Raises NotRunning, NoPermission."""
    from supervisor.master.succession import messages
    from supervisor.master.succession.messages import Done, Told
    from supervisor.system.descriptors import wait_for_any

    channel = _connect(config)
    channel.send(messages.encode(what))
    line = _Line()
    while not channel.is_over:
        wait_for_any(None, channel.fileno())
        for message in channel.receive():
            found = messages.decode(message.data)
            if isinstance(found, Told):
                line.show(f"successor {found.pid}: {found.text}")
            elif isinstance(found, Done):
                line.clear()
                return found
    line.clear()
    return Done(Exit.CRASH, f"{config.name} ended meanwhile")


def _connect(config: Config) -> Channel:
    from supervisor.system.channel import Channel
    from supervisor.system.control import connect_to_master
    from supervisor.system.files import directory_at
    from supervisor.system.lookup import find_running

    found, _ = find_running(config.name, config.master)
    try:
        with directory_at(found.path) as directory:
            return Channel(connect_to_master(directory))
    except PermissionError:
        raise NoPermission(f"{config.name} belongs to another user") from None
    except OSError as error:
        raise NotRunning(f"{config.name} takes no orders: {error.strerror}") from None


class _Line:
    """One line of a terminal that moves; nothing elsewhere."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()

    def show(self, text: str) -> None:
        """In the place of the text before."""
        if self._is_terminal:
            click.echo(f"\r\033[K{text}", nl=False)

    def clear(self) -> None:
        """Leave an empty line."""
        self.show("")
