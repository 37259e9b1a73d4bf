"""`run`: an application served without a file."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from supervisor.cli.options import server_config, set_option
from supervisor.cli.watch import filter_option, serve_watched, watch_option
from supervisor.config.address import as_address
from supervisor.config.load import load_table
from supervisor.config.schema import NAMES, Config, is_name
from supervisor.errors import ConfigError, NameProblem, StartError, SupervisorError

if TYPE_CHECKING:
    from supervisor.config.decode import Problems
    from supervisor.master.booted import Booted

_SECTION: Final = "web"
_ORIGIN: Final = Path("run")  # stands where a problem names the file
_DEFAULT: Final = "tcp://127.0.0.1:8000"


class _Table(NamedTuple):
    """A configuration before it is decoded, and whence its keys are."""

    table: dict[str, Any]
    origins: dict[str, str]

    @property
    def section(self) -> dict[str, Any]:
        """`[workers.web]`."""
        section: dict[str, Any] = self.table["workers"][_SECTION]
        return section

    def take(self, key: str, value: Any, variable: str = "") -> None:
        """Set a key of the section, from a variable of the environment where one is named."""
        self.section[key] = value
        if variable:
            self.origins[f"workers.{_SECTION}.{key}"] = variable

    def take_given(self, **options: Any) -> None:
        """Set the keys whose options are on the command line."""
        for key, value in options.items():
            if value is not None:
                self.take(key, value)


@click.command()
@click.argument("app", metavar="APP")
@click.option("--bind", multiple=True, metavar="ADDRESS", help="HOST:PORT, :PORT or unix:PATH.")
@click.option("--children", type=click.IntRange(1), help="Processes. [default: one a CPU]")
@click.option("--threads", type=click.IntRange(1), help="In each child; of a WSGI application.")
@click.option("--factory", is_flag=True, help="APP is a function that makes the application.")
@click.option("-n", "--name", help="Of the server. [default: the first part of APP's module]")
@click.option("--print", "prints", is_flag=True, help="Print the equivalent file; start nothing.")
@watch_option
@filter_option
@set_option
def run(
    app: str,
    bind: tuple[str, ...],
    children: int | None,
    threads: int | None,
    factory: bool,
    name: str | None,
    prints: bool,
    watch: bool,
    patterns: tuple[str, ...],
    settings: tuple[str, ...],
) -> None:
    """Serve an application without a file.

    APP is package.module:attribute, of a WSGI, ASGI or RSGI application: the object itself tells.
    Of a module alone it is its application, or app. Where no option says otherwise the environment
    does: PORT, WEB_CONCURRENCY, FORWARDED_ALLOW_IPS. The default address is 127.0.0.1:8000. Stop it
    with Ctrl-C, or: supervisor stop --name NAME
    """
    if watch and not prints:
        serve_watched(server_config(None, name or _name_of(app)), None, patterns)
    from supervisor.master.succession.predecessor import Start
    from supervisor.system import descriptors

    descriptors.hold_standard_descriptors()
    begun = Start.now()
    settings = begun.settings(settings)
    wanted = _wanted(app, name or _name_of(app), bind, os.environ)
    wanted.take_given(children=children, factory=factory or None, threads=threads)
    with begun.told():
        _look(wanted, settings)
        config, problems = load_table(_ORIGIN, wanted.table, settings, wanted.origins)
    if prints:
        _print(wanted, problems)
        return
    from supervisor.cli.start import prepare
    from supervisor.master.master import serve

    with begun.told():
        prepare(config, problems)
    serve(config, begun, greet=_greet)


def _print(wanted: _Table, problems: Problems) -> None:
    from supervisor.cli import compose

    problems.raise_if_any()
    click.echo(compose.text(wanted.table), nl=False)


def _name_of(app: str) -> str:
    name = re.split(r"[.:]", app)[0]
    return name if is_name(name) else "run"


def _wanted(app: str, name: str, bind: tuple[str, ...], environ: Mapping[str, str]) -> _Table:
    """The table that command line and environment describe, but for the type."""
    if not is_name(name):
        raise click.BadParameter(f"{name!r}: {NAMES}", param_hint="--name")
    section: dict[str, Any] = {"type": "wsgi", "app": app, "children": "auto"}
    wanted = _Table({"name": name, "workers": {_SECTION: section}}, {})
    port, count = environ.get("PORT", ""), environ.get("WEB_CONCURRENCY", "")
    if bind:
        wanted.take("listen", [as_address(one) for one in bind])
    elif port:
        wanted.take("listen", [f"tcp://0.0.0.0:{port}"], "PORT")
    else:
        wanted.take("listen", [_DEFAULT])
    if count:
        wanted.take("children", int(count) if count.isdecimal() else count, "WEB_CONCURRENCY")
    wanted.take("access_log", "common")
    trusted = [one.strip() for one in environ.get("FORWARDED_ALLOW_IPS", "").split(",")]
    if any(trusted):
        wanted.take("trusted_proxies", [one for one in trusted if one], "FORWARDED_ALLOW_IPS")
    return wanted


def _look(wanted: _Table, settings: tuple[str, ...]) -> None:
    """Import the application, and set the type to what it is, where no setting does."""
    from supervisor.child import environment, registry

    if any(setting.partition("=")[0].strip() == f"workers.{_SECTION}.type" for setting in settings):
        return
    config, problems = load_table(_ORIGIN, wanted.table, settings, wanted.origins)
    (section,) = (one for one in config.workers if one.name == _SECTION)
    variables = environment.variables(section, problems)
    registry.load_built_in(config, problems)
    problems.raise_if_any()
    sys.path.insert(0, str(Path.cwd()))
    app = wanted.section["app"]
    try:
        with environment.applied(variables):
            application = _imported(app, factory=bool(wanted.section.get("factory")))
        found = _type_of(application, app)
    except NameProblem as error:
        raise ConfigError([f"{_ORIGIN}: {error}"]) from None
    wanted.section["type"] = found
    if found != "wsgi" and "threads" in wanted.section:
        raise click.UsageError(f"--threads is for wsgi; {app} is {found}")


def _type_of(application: Any, app: str) -> str:
    """The worker type that serves an application named `app`. Raises NameProblem."""
    from supervisor.workers.web.interface import interface_of, refuse_another

    found = interface_of(application)
    if found is None:
        unknown = "does not tell its interface; say it: --set workers.web.type=asgi, or wsgi"
        raise NameProblem(f"{app!r} {unknown}")
    refuse_another(application, app, found)
    return found


def _imported(app: str, *, factory: bool) -> Any:
    """The application. Raises NameProblem, and StartError where its code raised."""
    from supervisor.child.names import describe
    from supervisor.workers.web.application import find_application

    try:
        return find_application(app, factory=factory)
    except (SupervisorError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise StartError(f"{_ORIGIN}: {app!r}: {describe(error)}") from error


def _greet(booted: Booted) -> None:
    """On a terminal, the one line that somebody who begins wants to see."""
    if booted.config.log.format == "text" and sys.stderr.isatty():
        sys.stderr.write(f"{_greeting(booted.config, booted)}\n")


def _greeting(config: Config, booted: Booted) -> str:
    (section,) = (one for one in booted.loaded.sections if one.section.name == _SECTION)
    options = section.section.options
    scheme = "https" if options.get("tls") else "http"
    addresses = [
        str(one.address).replace("tcp://", f"{scheme}://") for one in booted.listeners[_SECTION]
    ]
    plural = "child" if section.children == 1 else "children"
    return (
        f"serving {options['app']} ({section.section.common.type}) on {', '.join(addresses)}, "
        f"{section.children} {plural}; Ctrl-C stops"
    )
