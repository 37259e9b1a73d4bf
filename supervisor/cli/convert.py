"""`convert`: the command line or the file of another server as a configuration of ours."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click

from supervisor.cli import compose
from supervisor.config.address import as_address
from supervisor.config.equivalents import EQUIVALENTS, NONE, Equivalent, Program
from supervisor.config.schema import is_name
from supervisor.errors import ConfigError

_LEVELS: Final = {"critical": "error", "trace": "debug"}
_TRUE: Final = ("1", "true", "yes", "on")


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("kind", metavar="gunicorn|uvicorn|FILE.ini")
@click.argument("words", metavar="[ARGUMENTS]...", nargs=-1, type=click.UNPROCESSED)
def convert(kind: str, words: tuple[str, ...]) -> None:
    """Print the equivalent of another server's options.

    All words after gunicorn or uvicorn are that program's own. A file is uWSGI's. What has no
    equivalent is named on standard error, with what to do.
    """
    if kind in ("gunicorn", "uvicorn"):
        conversion = Conversion("gunicorn" if kind == "gunicorn" else "uvicorn")
        conversion.take_words(list(words))
    elif kind.endswith(".ini") and not words:
        conversion = Conversion("uwsgi")
        conversion.take_file(Path(kind))
    elif kind in ("-h", "--help"):  # of the others' words we take none
        click.echo(click.get_current_context().get_help())
        return
    else:
        raise click.UsageError("the first word is gunicorn, uvicorn, or a FILE.ini of uWSGI")
    click.echo(compose.text(conversion.table()), nl=False)
    for line in conversion.notes:
        click.echo(line, err=True)


class Conversion:
    """Takes the options one by one."""

    def __init__(self, program: Program) -> None:
        self.notes: list[str] = []
        self._program = program
        self._known = {name: one for one in EQUIVALENTS[program] for name in one.names.split()}
        self._top: dict[str, Any] = {}
        self._web: dict[str, Any] = {"type": "asgi" if program == "uvicorn" else "wsgi"}
        self._app = ""
        self._host, self._port = "127.0.0.1", "8000"
        if program == "uvicorn":
            self._web |= {"access_log": "common", "trusted_proxies": ["127.0.0.1"]}

    def take_words(self, words: list[str]) -> None:
        """A command line: options anywhere, and one application."""
        while words:
            word = words.pop(0)
            name, equals, value = word.partition("=")
            if not word.startswith("-"):
                self._app = word
            elif name in self._known:
                one = self._known[name]
                takes = one.form not in (NONE, "off", "untrusted")
                if takes and not equals:
                    if not words:
                        raise click.UsageError(f"{name} of {self._program} needs a value")
                    value = words.pop(0)
                self._take(name, one, value)
            elif word[:2] in self._known and not word.startswith("--"):
                words[:0] = [word[:2], word[2:]]  # -w4
            else:
                self._note(word, "not known here")
                if not equals and len(words) > 1 and not words[0].startswith("-"):
                    words.pop(0)

    def take_file(self, file: Path) -> None:
        """The section [uwsgi] of a file; a key may stand there more than once."""
        for name, value in _entries(file):
            one = self._known.get(name)
            if one is None:
                self._note(name, "not known here")
            elif one.form != NONE or one.note:
                self._take(name, one, value)

    def table(self) -> dict[str, Any]:
        """The configuration. Raises ConfigError where no application is named."""
        if not self._app:
            raise ConfigError([f"{self._program}: no application is named"])
        web = self._web
        app = self._app
        if app.endswith("()"):
            app, web["factory"] = app[:-2], True
        module = app.partition(":")[0]
        name = module.partition(".")[0]
        self._top.setdefault("name", name if is_name(name) else "web")
        default = [f"tcp://{self._host}:{self._port}"]
        listen = web.pop("listen", default)
        kind = web.pop("type")
        app = app if ":" in app else f"{app}:application"
        section = {"type": kind, "app": app, "children": web.pop("children", 1), "listen": listen}
        return {**self._top, "workers": {"web": {**section, **web}}}

    def _take(self, name: str, one: Equivalent, value: str) -> None:
        if (one.note and one.form not in (NONE, "class")) or (not one.key and one.note):
            self._note(name, one.note)
        if not one.key:
            return
        try:
            self._set(name, one, value)
        except ValueError:
            raise click.UsageError(f"{name} of {self._program}: {value!r} is no number") from None

    def _set(self, name: str, one: Equivalent, value: str) -> None:
        match one.form:
            case "host":
                self._host = value if ":" not in value else f"[{value}]"
            case "port":
                self._port = value
            case "module" | "callable" | "wsgi-file":
                self._name_application(one.form, value)
            case "class":
                self._choose(name, value)
            case "variable":
                key, _, text = value.partition("=")
                self._web.setdefault("env", {})[key] = text
            case "access":
                self._web["access_log"] = "combined"
                if value != "-":
                    self._web["access_log_file"] = value
            case "address" | "path":
                text = f"unix:{value}" if one.form == "path" or value.startswith("/") else value
                self._web.setdefault("listen", []).append(as_address(text))
            case "list" | "untrusted":
                self._web["trusted_proxies"] = [part.strip() for part in value.split(",") if part]
            case _:
                self._put(one.key, _converted(one, value))

    def _put(self, key: str, value: Any) -> None:
        """A key below the section, or from the top; one in a table of the section inline."""
        table, path = self._web, key
        if key.startswith("."):
            table, path = self._top, key[1:]
        *parents, last = path.split(".")
        for parent in parents:
            table = table.setdefault(parent, {})
        table[last] = value

    def _name_application(self, form: str, value: str) -> None:
        module, _, attribute = self._app.partition(":")
        if form == "callable":
            attribute = value
        elif form == "wsgi-file":
            module = value.removesuffix(".py").replace("/", ".")
        else:
            module, _, named = value.partition(":")
            attribute = named or attribute
        self._app = f"{module}:{attribute}" if attribute else module

    def _choose(self, name: str, value: str) -> None:
        if "uvicorn" in value.lower() or value.startswith("asgi"):
            self._web["type"] = "asgi"
        elif value == "wsgi":
            self._web["type"] = "wsgi"
        elif value not in ("sync", "gthread", "auto"):
            todo = "use threads, or an ASGI application"
            self._note(f"{name} {value}", todo)

    def _note(self, name: str, text: str) -> None:
        self.notes.append(f"{self._program}: {name}: {text}")


# How the value of an option of each form becomes that of our key; of another form it is the same.
_VALUES: Final[dict[str, Callable[[str], Any]]] = {
    "integer": int,
    "seconds": float,
    "megabytes": lambda value: int(value) << 20,
    "umask": lambda value: f"{int(value, 8 if value.startswith('0') else 10):03o}",
    "level": lambda value: _LEVELS.get(value.lower(), value.lower()),
    "file": lambda value: "" if value == "-" else value,
    "path-name": os.path.abspath,
    "loop": lambda value: "asyncio" if value == "asyncio" else "uvloop",
    "ws": lambda value: value != "none",
    "off": lambda _: "off",
    "not": lambda value: value.lower() not in _TRUE,
}


def _converted(one: Equivalent, value: str) -> Any:
    if one.form == NONE:
        return "common" if one.key == "access_log" else True
    return _VALUES.get(one.form, str)(value)


def _entries(file: Path) -> Iterator[tuple[str, str]]:
    """The options of [uwsgi], those that stand there twice, too. Raises ConfigError."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{file}: {getattr(error, 'strerror', None) or error}"]) from None
    section = ""
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("[") and stripped.endswith("]"):
            section = stripped[1:-1]
        elif section == "uwsgi" and stripped and stripped[0] not in "#;":
            name, _, value = stripped.partition("=")
            yield name.strip().replace("_", "-"), value.strip()
