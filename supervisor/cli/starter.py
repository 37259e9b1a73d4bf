"""The file that `init` writes: a configuration for the application that a folder seems to hold.

Source files are read, never imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from supervisor.cli import compose
from supervisor.config.schema import is_name

_FRAMEWORKS: Final = {
    "FastAPI": "asgi",
    "Starlette": "asgi",
    "Litestar": "asgi",
    "Quart": "asgi",
    "Flask": "wsgi",
}
_MADE: Final = re.compile(rf"^(\w+)\s*(?::[^=\n]+)?=\s*(?:\w+\.)*({'|'.join(_FRAMEWORKS)})\(", re.M)
_SETTINGS: Final = re.compile(r"""DJANGO_SETTINGS_MODULE["'],\s*["']([\w.]+)["']""")
UNKNOWN: Final = "app:app"  # where none was found
_LONGEST: Final = 1_000_000  # bytes of a source file that is looked at
_COMMENTS: Final = {
    "": "Check it with `supervisor check`, start it with `supervisor start`. All keys: supervisor "
    "types",
    "master.restart": 'after a crash the next children serve at once; "never": end, and be started',
    "workers.web.app": "package.module:attribute",
    "workers.web.children": "CPUs that this process may use",
    "workers.web.access_log": "on standard output; off, common, combined or json",
    "workers.status.listen": "/healthz, /readyz, /metrics, and a page for people",
}


class Application(NamedTuple):
    """`package.module:attribute`, and the worker type that serves it."""

    app: str
    type: str


def find(folder: Path) -> Application | None:
    """The application in a folder: of Django's manage.py, or made at the top of a module here or
    one package down.
    """
    return _of_django(folder) or next(_made_in(folder), None)


def type_of(app: str, folder: Path) -> str | None:
    """The type of a named application, where its source tells."""
    for found in _made_in(folder):
        if found.app == app:
            return found.type
    return next((kind for kind in ("wsgi", "asgi") if f".{kind}:" in f".{app}"), None)


def text(app: str, kind: str, *, is_guess: bool) -> str:
    """The file."""
    name = re.split(r"[.:]", app)[0]
    table: dict[str, Any] = {
        "name": name if is_name(name) else "supervisor",
        "master": {"restart": "on-crash"},
        "workers": {
            "web": {
                "type": kind,
                "app": app,
                "children": "auto",
                "listen": ["tcp://127.0.0.1:8000"],
                "access_log": "common",
            },
            "status": {"type": "status", "listen": ["tcp://127.0.0.1:9000"]},
        },
    }
    guess = {"workers.web.type": 'or "wsgi": `supervisor check` tells'} if is_guess else {}
    return compose.text(table, {**_COMMENTS, **guess})


def _of_django(folder: Path) -> Application | None:
    found = _SETTINGS.search(_read(folder / "manage.py"))
    if found is None:
        return None
    package = found[1].partition(".")[0]
    kind = "wsgi" if (folder / package / "wsgi.py").is_file() else "asgi"
    return Application(f"{package}.{kind}:application", kind)


def _made_in(folder: Path) -> Iterator[Application]:
    for file in (*sorted(folder.glob("*.py")), *sorted(folder.glob("*/*.py"))):
        relative = file.relative_to(folder).with_suffix("")
        parts = [part for part in relative.parts if part != "__init__"]
        if parts and all(part.isidentifier() for part in parts):
            for name, framework in _MADE.findall(_read(file)):
                yield Application(f"{'.'.join(parts)}:{name}", _FRAMEWORKS[framework])


def _read(file: Path) -> str:
    try:
        with open(file, encoding="utf-8", errors="replace") as source:
            return source.read(_LONGEST)
    except OSError:
        return ""
