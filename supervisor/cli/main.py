"""The command line. The only place that turns an error into a line and an exit status."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from supervisor.config.decode import Problems
from supervisor.config.schema import Config
from supervisor.errors import STATUSES, ConfigError, NotRunning, ScoreboardError, SupervisorError
from supervisor.log import entries
from supervisor.system.signals import described

if TYPE_CHECKING:
    from supervisor.scoreboard.reader import Snapshot
    from supervisor.views.running import Reader

_NOT_RUNNING: Final = 3  # status(8) of the LSB: program is not running
_STILL_RUNNING: Final = 1
_DEFAULTS: Final = ("supervisor.toml", "conf/supervisor.toml")
_STARTER: Final = Path(__file__).with_name("starter.toml")


def _rows(heading: str, rows: Iterable[tuple[str, str]]) -> str:
    """A table for --help that click does not fill."""
    lines = (f"  {name:<36} {text}" for name, text in rows)
    return f"{heading}\n\n\b\n" + "\n".join(lines)


def _signals_help() -> str:
    return _rows("Signals of a running server:", ((row[0], row[1]) for row in described()))


class _Commands(click.Group):
    """Turns expected errors into `supervisor: error: ...` and their status."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SupervisorError as error:
            _fail(error)
        except BrokenPipeError:
            _end_quietly()


def _fail(error: SupervisorError) -> NoReturn:
    entries.say_error(str(error))
    sys.exit(error.exit_code)


def _end_quietly() -> NoReturn:
    """Whoever read our output has enough: leave as a filter does, without a word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_signals_help(),
)
@click.version_option(package_name="prefork-supervisor", prog_name="supervisor")
def main() -> None:
    """A preforking multi-process server supervisor: healthy, or gone and explained."""


_config_option = click.option(
    "-c",
    "--config",
    "file",
    type=click.Path(path_type=Path),
    envvar="SUPERVISOR_CONFIG",
    show_envvar=True,
    help="Configuration file. [default: ./supervisor.toml, else ./conf/supervisor.toml]",
)


def _check_setting(_ctx: object, _param: object, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if "=" not in value:
            raise click.BadParameter(f"{value!r} has no '='; write KEY=VALUE")
    return values


def _complete_setting(ctx: click.Context, _param: object, incomplete: str) -> list[str]:
    from supervisor.cli import completion

    with contextlib.suppress(ConfigError):
        return completion.settings(_file(ctx.params.get("file")), incomplete)
    return completion.settings(None, incomplete)


_set_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_check_setting,
    shell_complete=_complete_setting,
    help="Override one key: --set workers.web.children=8. Repeatable.",
)


def _file(given: Path | None) -> Path:
    if given is not None:
        return given
    for name in _DEFAULTS:
        if Path(name).exists():
            return Path(name)
    raise ConfigError(
        [
            f"no configuration: none of {', '.join(_DEFAULTS)} here; name one with -c FILE or make "
            "one with: supervisor init"
        ]
    )


def _read(given: Path | None, settings: tuple[str, ...] = ()) -> tuple[Config, Problems]:
    from supervisor.config.load import load

    return load(_file(given), settings)


@main.command(epilog=_rows("Exit statuses:", STATUSES))
@_config_option
@_set_option
@click.option("--dont-fork", is_flag=True, help="One process, for debugging: breakpoint() works.")
@click.option("--daemon", is_flag=True, help="Go to the background, once every child is ready.")
def start(file: Path | None, settings: tuple[str, ...], dont_fork: bool, daemon: bool) -> None:
    """Start the server and stay in the foreground."""
    from supervisor.system import descriptors, signals

    if daemon and dont_fork:
        raise click.UsageError("--daemon and --dont-fork exclude each other")
    descriptors.hold_standard_descriptors()
    if not signals.is_ignored(signal.SIGINT):
        signals.restore_default(signal.SIGINT)  # nothing is ours yet: Ctrl-C just ends
    config, problems = _read(file, settings)
    _check_names(config, problems)
    config = _enter(config)
    try:
        entries.configure(config.log.level, config.log.format, config.log.file)
    except OSError as error:
        raise ConfigError([f"{config.file}: log.file: {error.strerror}"]) from None
    from supervisor.master import master

    if daemon:
        _start_daemon(config)
    server = master.Master(config)
    master.leave(server.run_here() if dont_fork else server.run())


def _start_daemon(config: Config) -> NoReturn:
    from supervisor.master import daemon, master

    if not config.log.file:
        entries.log.warning("log.file is empty: once the server is ready, nobody sees its log")
    daemon.launch(
        lambda launcher: master.leave(master.Master(config, launcher).run()), config.log.file
    )


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


@main.command()
@_config_option
@_set_option
def check(file: Path | None, settings: tuple[str, ...]) -> None:
    """Check the configuration and import the code that it names, as start would."""
    from supervisor.child import registry

    config, problems = _read(file, settings)
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


@main.command()
@_config_option
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait until it is gone.")
def stop(file: Path | None, timeout: float | None) -> None:
    """Stop the server politely and wait until it is gone.

    Waits as long as the configuration lets the server take, unless --timeout is given; then exits
    1.
    """
    from supervisor.views.running import Reader

    config, _ = _read(file)
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


@main.command()
@_config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(file: Path | None, as_json: bool) -> None:
    """Say whether the server runs: exit status 0 if it does, 3 if not."""
    from supervisor.scoreboard import reader
    from supervisor.views import picture

    config, _ = _read(file)
    found = _find(config)
    if found is None:
        click.echo(json.dumps({"running": False}) if as_json else f"{config.name} is not running")
        sys.exit(_NOT_RUNNING)
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


@main.command("stats")
@_config_option
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


@main.command()
@_config_option
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


@main.command()
@_config_option
def console(file: Path | None) -> None:
    """Open a prompt to look at the running server, signal its children, and stop it.

    Ctrl-C ends the running command, Ctrl-D leaves. Commands may also be piped into it.
    """
    from supervisor.cli import console
    from supervisor.system import process
    from supervisor.views import table

    config, _ = _read(file)
    ended = console.Console(config, table.coloured if _wants_colour() else table.plain).run()
    if ended is not None:
        process.die_of(ended)


def _print_table(snapshot: Snapshot) -> None:
    from supervisor.views import picture, table

    facts = picture.detailed(snapshot, with_pss=False)
    click.echo(table.table(facts, table.coloured if _wants_colour() else table.plain))


def _reader(file: Path | None) -> Reader:
    from supervisor.views.running import Reader

    config, _ = _read(file)
    return Reader(config)


def _wants_colour() -> bool:
    return _has_terminal() and not os.environ.get("NO_COLOR")


def _has_terminal() -> bool:
    """True when a person looks at a screen that can be painted."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


@main.command()
@click.option(
    "-c",
    "--config",
    "file",
    type=click.Path(path_type=Path),
    default=Path("supervisor.toml"),
    show_default=True,
    help="File to write.",
)
@click.option("--force", is_flag=True, help="Overwrite it if it exists.")
def init(file: Path, force: bool) -> None:
    """Write a commented configuration to start from."""
    _write(file, _STARTER.read_text(encoding="utf-8"), "w" if force else "x")
    click.echo(f"{file} written; start it with: supervisor start -c {file}")


@main.command()
def types() -> None:
    """List the worker types and modules with their options."""
    from supervisor.child import names, registry

    for heading, known, table in (
        ("Worker types", registry.WORKERS, "workers"),
        ("Modules", registry.MODULES, "modules"),
    ):
        click.echo(f'{heading} ([{table}.NAME], or type = "package.module:Class")')
        for name, where in known.items():
            kind = names.load_object(where)
            click.echo(f"\n  {name}: {_first_line(kind)}")
            for row in _option_lines(kind.Options):
                click.echo(f"    {row}")
        click.echo("")


@main.command()
@_config_option
@click.option("--no-socket", is_flag=True, help="The service alone: it binds its sockets itself.")
@click.option("--command", type=click.Path(path_type=Path), help="Path of supervisor in the unit.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the units there, as NAME.service and NAME.socket.",
)
def unit(file: Path | None, no_socket: bool, command: Path | None, directory: Path | None) -> None:
    """Print a systemd service and socket for this configuration.

    Each begins with a comment that names its file, below /etc/systemd/system.
    """
    from supervisor.cli import unit

    config, problems = _read(file)
    problems.raise_if_any()
    sockets = None if no_socket else unit.socket_unit(config)
    command = command or unit.own_command()
    texts = {"service": unit.service(config, command, with_socket=sockets is not None)}
    if sockets is not None:
        texts["socket"] = sockets
    if directory is None:
        click.echo("\n".join(texts.values()), nl=False)
        return
    for kind, text in texts.items():
        _write(directory / f"{config.name}.{kind}", text)
        click.echo(f"{directory / config.name}.{kind} written")


def _write(file: Path, text: str, mode: str = "w") -> None:
    try:
        with open(file, mode, encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise ConfigError([f"{file}: exists; --force overwrites it"]) from None
    except OSError as error:
        raise ConfigError([f"{file}: {error.strerror}"]) from None


@main.command()
def man() -> None:
    """Print the manual page supervisor(1); read it with: supervisor man | man -l -"""
    from supervisor.cli import manual

    click.echo(manual.page(main), nl=False)


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what completes this command in a shell: source <(supervisor completion bash)"""
    from supervisor.cli import completion

    click.echo(completion.script(shell, main), nl=False)


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]


def _option_lines(options: Any) -> Iterator[str]:
    from supervisor.child import registry

    for key, kind, default in registry.describe_options(options):
        yield f"{key}: {kind}" + (f" = {default}" if default else " (required)")


if __name__ == "__main__":
    main()
