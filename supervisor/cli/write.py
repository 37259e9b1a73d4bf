"""`init`, `types`, `unit`, `completion`: texts made for people and other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from supervisor.cli.options import config_option, read_config, write_text

if TYPE_CHECKING:
    from supervisor.child.module import Module
    from supervisor.child.worker import Worker


def _complete_type(_ctx: object, _param: object, incomplete: str) -> list[str]:
    from supervisor.child import registry

    return [name for name in registry.WORKERS | registry.MODULES if name.startswith(incomplete)]


@click.command()
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
@click.option("--app", help="package.module:attribute. [default: what this folder seems to hold]")
@click.option("--type", "kind", type=click.Choice(["wsgi", "asgi", "rsgi"]), help="Of the app.")
def init(file: Path, force: bool, app: str | None, kind: str | None) -> None:
    """Write a commented configuration to start from.

    For Django (manage.py), FastAPI, Starlette, Litestar, Quart and Flask it names the application
    that is found here; nothing is imported. Where none is found it is app:app.
    """
    from supervisor.cli import starter

    here = Path.cwd()
    found = starter.find(here) if app is None else None
    name = app or (found.app if found else starter.UNKNOWN)
    told = kind or (found.type if found else starter.type_of(name, here))
    text = starter.text(name, told or "asgi", is_guess=told is None)
    write_text(file, text, "w" if force else "x")
    click.echo(f"{file} written for {name}; start it with: supervisor start -c {file}")


@click.command()
@click.argument("kind", metavar="[TYPE]", required=False, shell_complete=_complete_type)
@click.option("--toml", is_flag=True, help="Print every key as a configuration, with comments.")
def types(kind: str | None, toml: bool) -> None:
    """List worker types and modules with their options.

    With TYPE, a built-in one or package.module:Class, show that one.
    """
    from supervisor.cli import reference, types

    if toml:
        click.echo(reference.text(), nl=False)
    elif kind is None:
        click.echo(types.listing())
    else:
        click.echo(types.description(kind, _class_of(kind)))


def _class_of(kind: str) -> type[Worker] | type[Module]:
    """The class of a TYPE, a built-in one or `package.module:Class`; another is a wrong word."""
    from supervisor.child import registry
    from supervisor.errors import NameProblem

    sys.path.insert(0, str(Path.cwd()))
    try:
        return registry.class_of(kind)
    except NameProblem as error:
        raise click.BadParameter(str(error), param_hint="TYPE") from None


@click.command()
@config_option
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

    config, problems = read_config(file)
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
        write_text(directory / f"{config.name}.{kind}", text)
        click.echo(f"{directory / config.name}.{kind} written")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what completes this command in a shell.

    Load it by: source <(supervisor completion bash)
    """
    from supervisor.cli import completion

    click.echo(completion.script(shell, _all_commands()), nl=False)


def _all_commands() -> click.Group:
    root = click.get_current_context().find_root().command
    assert isinstance(root, click.Group)
    return root
