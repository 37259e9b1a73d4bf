"""Shared by the commands: which configuration, which overrides, how a table of --help looks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click

from supervisor.config.decode import Problems
from supervisor.config.schema import NAMES, Config, LogOptions, MasterOptions, is_name
from supervisor.errors import ConfigError

_PROJECT: Final = Path("pyproject.toml")
_DEFAULTS: Final = ("supervisor.toml", "conf/supervisor.toml")


def rows_of_help(heading: str, rows: Iterable[tuple[str, str]]) -> str:
    """A table for --help that click does not fill."""
    lines = (f"  {name:<36} {text}" for name, text in rows)
    return f"{heading}\n\n\b\n" + "\n".join(lines)


config_option = click.option(
    "-c",
    "--config",
    "file",
    type=click.Path(path_type=Path),
    envvar="SUPERVISOR_CONFIG",
    show_envvar=True,
    help="Configuration file. [default: ./supervisor.toml, else ./conf/supervisor.toml, else "
    "[tool.supervisor] of ./pyproject.toml]",
)


def _check_setting(_ctx: object, _param: object, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if "=" not in value:
            raise click.BadParameter(f"{value!r} has no '='; write KEY=VALUE")
    return values


def _complete_setting(ctx: click.Context, _param: object, incomplete: str) -> list[str]:
    from supervisor.cli import completion

    with contextlib.suppress(ConfigError):
        return completion.settings(file_of(ctx.params.get("file")), incomplete)
    return completion.settings(None, incomplete)


set_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_check_setting,
    shell_complete=_complete_setting,
    help="Override one key: --set workers.web.children=8. Repeatable.",
)


def _check_name(_ctx: object, _param: object, name: str | None) -> str | None:
    if name is not None and not is_name(name):
        raise click.BadParameter(f"{name!r}: {NAMES}")
    return name


name_option = click.option(
    "-n",
    "--name",
    callback=_check_name,
    help="A server by its name, without a file; supervisor run starts such.",
)


def server_config(given: Path | None, name: str | None) -> Config:
    """The configuration by which a running server is found. Of one that has no file the name says
    all. Raises ConfigError.
    """
    if name is None:
        from supervisor.config.load import identify

        return identify(file_of(given))
    return Config(name, name, MasterOptions(), LogOptions(), (), ())


def file_of(given: Path | None) -> Path:
    """The configuration file: the one that is given, else the first default one that exists."""
    from supervisor.config.load import has_own_table

    if given is not None:
        return given
    for name in _DEFAULTS:
        if Path(name).exists():
            return Path(name)
    if has_own_table(_PROJECT):
        return _PROJECT
    raise ConfigError(
        [
            f"no configuration: none of {', '.join(_DEFAULTS)} here, and no [tool.supervisor] in "
            "pyproject.toml; name one with -c FILE or make one with: supervisor init"
        ]
    )


def read_config(given: Path | None, settings: tuple[str, ...] = ()) -> tuple[Config, Problems]:
    """The configuration, as far as it could be decoded, and all that is wrong with it. Raises
    ConfigError for a file that cannot be read.
    """
    from supervisor.config.load import load

    return load(file_of(given), settings)


def write_text(file: Path, text: str, mode: str = "w") -> None:
    """Write a text file; mode "x" keeps one that exists. Raises ConfigError."""
    try:
        with open(file, mode, encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise ConfigError([f"{file}: exists; --force overwrites it"]) from None
    except OSError as error:
        raise ConfigError([f"{file}: {error.strerror}"]) from None
