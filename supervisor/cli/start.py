"""`start` and `check`: from a file to a server, or to what is wrong with it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from supervisor.cli.options import (
    config_option,
    file_of,
    read_config,
    rows_of_help,
    server_config,
    set_option,
)
from supervisor.cli.watch import filter_option, serve_watched, watch_option
from supervisor.errors import STATUSES, ConfigError, SupervisorError, SystemFailure
from supervisor.log import entries

if TYPE_CHECKING:
    from supervisor.config.decode import Problems
    from supervisor.config.schema import Config
    from supervisor.master.succession.predecessor import Start


@click.command(epilog=rows_of_help("Exit statuses:", STATUSES))
@config_option
@set_option
@click.option("--dont-fork", is_flag=True, help="One process, for debugging: breakpoint() works.")
@click.option("--daemon", is_flag=True, help="Go to the background, once every child is ready.")
@watch_option
@filter_option
def start(
    file: Path | None,
    settings: tuple[str, ...],
    dont_fork: bool,
    daemon: bool,
    watch: bool,
    patterns: tuple[str, ...],
) -> None:
    """Start the server and stay in the foreground."""
    from supervisor.system import descriptors

    if daemon and dont_fork:
        raise click.UsageError("--daemon and --dont-fork exclude each other")
    if watch:
        if daemon or dont_fork:
            raise click.UsageError("--watch is for the foreground, with children")
        serve_watched(server_config(file, None), file_of(file), patterns)
    descriptors.hold_standard_descriptors()
    from supervisor.master.succession.predecessor import Start

    begun = Start.now()
    with begun.told():
        config, problems = read_config(file, begun.settings(settings))
        prepare(config, problems, dont_fork=dont_fork)
    from supervisor.master.master import serve
    from supervisor.master.single import serve_here

    if daemon and begun.predecessor is None:
        _start_daemon(config, begun)
    if dont_fork:
        serve_here(config, begun)
    serve(config, begun)


def prepare(config: Config, problems: Problems, *, dont_fork: bool = False) -> None:
    """Open the log, refuse what is wrong, and go to the working directory. Raises ConfigError."""
    if not config.log.file:
        _open_log(config, dont_fork)  # before anything else can be wrong
    _check_names(config, problems)
    _enter(config)
    if config.log.file:
        _open_log(config, dont_fork)


def _open_log(config: Config, dont_fork: bool) -> None:
    try:
        entries.configure(config.log.level, config.log.format, config.log.file)
    except OSError as error:
        raise ConfigError([f"{config.file}: log.file: {error.strerror}"]) from None
    if config.log.format == "json" and not dont_fork:  # a debugger wants the real ones
        entries.wrap_streams()


def _start_daemon(config: Config, begun: Start) -> NoReturn:
    from supervisor.master import daemon
    from supervisor.master.master import serve

    if not config.log.file:
        entries.log.warning("log.file is empty: once the server is ready, nobody sees its log")
    daemon.launch(lambda launcher: serve(config, begun, launcher), config.log.file)


def _check_names(config: Config, problems: Problems) -> None:
    """Raise ConfigError for a name in the configuration that leads nowhere."""
    from supervisor.child import registry
    from supervisor.system import privileges

    privileges.check(config.master, problems)
    registry.check_built_in(config, problems)
    if problems.lines:
        _report_all(config, problems)


def _enter(config: Config) -> Config:
    """Go to the working directory and set the umask, before any path is opened."""
    directory = config.master.working_directory
    if directory:
        try:
            os.chdir(directory)
        except OSError as error:
            message = f"{config.file}: master.working_directory: {directory}: {error.strerror}"
            raise ConfigError([message]) from None
    os.umask(int(config.master.umask, 8))
    try:
        os.getcwd()
    except OSError as error:
        raise SystemFailure(f"the working directory: {error.strerror}") from None
    return config


def _become_user(config: Config) -> None:
    """As root, look at the user's code only with the rights that it will have."""
    from supervisor.system import privileges

    identity = privileges.wanted(config.master)
    if identity is not None and os.geteuid() == 0:
        privileges.become(identity)


def _report_all(config: Config, problems: Problems) -> NoReturn:
    """The start fails anyway: look at the user's code too, so that all problems are told at
    once.
    """
    from supervisor.child import registry

    found = problems.anew()
    with contextlib.suppress(SupervisorError):
        _become_user(_enter(config))
        registry.load(config, found)
    problems.lines += [line for line in found.lines if line not in problems.lines]
    raise ConfigError(problems.lines)


@click.command()
@config_option
@set_option
def check(file: Path | None, settings: tuple[str, ...]) -> None:
    """Check the configuration.

    Imports the code that it names, and reports as start would.
    """
    from supervisor.child import registry

    config, problems = read_config(file, settings)
    _check_names(config, problems)
    config = _enter(config)
    _become_user(config)
    loaded = registry.load(config, problems)
    problems.raise_if_any()
    children = sum(section.children for section in loaded.sections)
    listeners = sum(len(section.listen) for section in config.workers)
    click.echo(
        f"{config.file}: ok: {len(loaded.sections)} worker sections, {children} children, "
        f"{listeners} listeners, {len(loaded.modules)} modules"
    )
