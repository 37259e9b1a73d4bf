"""The comforts of a prompt, by readline: Tab completes, and the arrows bring back the lines of
earlier sessions.
"""

from __future__ import annotations

import contextlib
import os
import readline
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

_LENGTH: Final = 1000  # lines


@contextlib.contextmanager
def completion(complete: Callable[[str], list[str]]) -> Iterator[None]:
    """Inside, Tab completes the last word."""

    def answer(_word: str, state: int) -> str | None:
        if state == 0:
            found[:] = complete(readline.get_line_buffer()[: readline.get_endidx()])
        return found[state] if state < len(found) else None

    found: list[str] = []
    readline.set_completer_delims(" ")
    readline.set_completer(answer)
    readline.parse_and_bind("tab: complete")
    try:
        yield
    finally:
        readline.set_completer(None)


@contextlib.contextmanager
def history() -> Iterator[None]:
    """Inside, the lines of earlier sessions are there; they are kept below $XDG_STATE_HOME."""
    home = os.environ.get("XDG_STATE_HOME") or os.environ.get("HOME", "")
    if not home or not sys.stdin.isatty():
        yield
        return
    folder = Path(home) if os.environ.get("XDG_STATE_HOME") else Path(home, ".local/state")
    file = folder / "supervisor" / "history"
    with contextlib.suppress(OSError):
        readline.read_history_file(file)
    readline.set_history_length(_LENGTH)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            readline.write_history_file(file)
