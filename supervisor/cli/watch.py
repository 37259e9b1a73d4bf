"""`--watch`, for development: the server runs below a process that looks at the files, and each
change of code or configuration is a reload.

The server itself knows nothing of it, and sleeps as ever. Its bytecode is not kept: Python tells by
size and second whether that is old, and whoever edits may be faster.
"""

from __future__ import annotations

import fnmatch
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from supervisor.errors import MissingExtra, SupervisorError

if TYPE_CHECKING:
    from supervisor.config.schema import Config

_CODE: Final = ("*.py",)
_PASSED_ON: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGPWR, signal.SIGUSR1)

watch_option = click.option(
    "--watch", is_flag=True, help="Reload at each change of the code or the configuration."
)
filter_option = click.option(
    "--watch-filter",
    "patterns",
    multiple=True,
    metavar="GLOB",
    help="Names of files whose change is one of the code. Repeatable. [default: *.py]",
)


def serve_watched(config: Config, file: Path | None, patterns: Sequence[str]) -> NoReturn:
    """Start the same command without --watch, and ask it to reload until it ends; end as it does.
    `file` is the configuration. Raises MissingExtra.
    """
    try:
        import watchfiles
    except ModuleNotFoundError:
        raise MissingExtra("--watch", "watchfiles", "watch") from None
    from supervisor.system import signals

    server, ended = _started(), threading.Event()
    signals.pass_on(_PASSED_ON, server.send_signal)
    threading.Thread(target=_tell_end, args=(server, ended), daemon=True).start()
    wanted = _Wanted(watchfiles.DefaultFilter(), file, patterns or _CODE)
    places = _places(config, file)
    for changes in watchfiles.watch(*places, watch_filter=wanted, stop_event=ended):
        _reload(config, sorted({Path(path).name for _, path in changes}))
    _end_as(server.wait())


class _Wanted:
    """Which changes count: `skip` knows the folders of tools, such as .git and .venv."""

    def __init__(self, skip: Any, file: Path | None, patterns: Iterable[str]) -> None:
        self._skip = skip
        self._file = str(file.resolve()) if file else ""
        self._patterns = tuple(patterns)

    def __call__(self, change: Any, path: str) -> bool:
        name = Path(path).name
        is_code = any(fnmatch.fnmatch(name, one) for one in self._patterns)
        return path == self._file or (is_code and self._skip(change, path))


def _places(config: Config, file: Path | None) -> list[Path]:
    """The working directory, and the configuration where it stands elsewhere."""
    directory = Path(config.master.working_directory or ".").resolve()
    elsewhere = file is not None and directory not in file.resolve().parents
    return [directory, file.resolve()] if file is not None and elsewhere else [directory]


def _started() -> subprocess.Popen[bytes]:
    from supervisor.system import process

    watcher = os.getpid()
    return subprocess.Popen(
        list(_without_watch(sys.orig_argv)),
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: process.send_at_masters_death(signal.SIGTERM, watcher),
    )


def _tell_end(server: subprocess.Popen[bytes], ended: threading.Event) -> None:
    server.wait()
    ended.set()


def _without_watch(words: Iterable[str]) -> Iterable[str]:
    words = iter(words)
    for word in words:
        if word == "--watch-filter":
            next(words, None)
        elif word != "--watch" and not word.startswith("--watch-filter="):
            yield word


def _reload(config: Config, names: Sequence[str]) -> None:
    from supervisor.cli.reload import ask
    from supervisor.errors import Exit
    from supervisor.master.succession.messages import Ask

    click.echo(f"changed: {', '.join(names)}", err=True)
    try:
        done = ask(config, Ask())
    except SupervisorError as error:  # it ends at this moment, or is not there yet
        click.echo(f"supervisor: error: {error}", err=True)
        return
    if done.status != Exit.OK:
        click.echo("not reloaded: the old version serves on", err=True)  # why, the new one has said


def _end_as(status: int) -> NoReturn:
    from supervisor.system import process

    if status < 0:
        process.die_of(-status)
    sys.exit(status)
