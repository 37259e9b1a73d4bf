"""`supervisor top`: the server live on a terminal, which is given back as it was, however this
ends. It only reads.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from typing import Final

from supervisor.cli.screen import Screen
from supervisor.errors import MissingExtra, NotRunning, ScoreboardError
from supervisor.system import process
from supervisor.system.recorder import SignalRecorder
from supervisor.views import statistics
from supervisor.views.running import Reader

try:
    from rich.console import Console
    from rich.live import Live
except ImportError as error:
    raise MissingExtra("top", "rich", "ui") from error

_PSS_EVERY: Final = 5  # looks; it is the dear part of one (smaps_rollup walks the page tables)
_END: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPWR)


def run(reader: Reader, interval: float) -> signal.Signals | None:
    """Show the server until a key or a signal ends it; returns that signal.

    Raises NotRunning or ScoreboardError if there is nothing to show in the first place.
    """
    facts = statistics.of(reader.snapshot())
    console = Console(highlight=False)
    screen = Screen(ascii_only=console.options.ascii_only)
    screen.see(facts)
    return _Top(reader, interval, console, screen).run()


class _Top:
    """The loop: look, draw, wait for a key, a signal or the next look."""

    def __init__(self, reader: Reader, interval: float, console: Console, screen: Screen) -> None:
        self._reader = reader
        self._interval = interval
        self._console = console
        self._screen = screen
        self._looks = 0
        self._signals = SignalRecorder()

    def run(self) -> signal.Signals | None:
        """Show until the end; Ctrl-Z stops us as a shell expects, `fg` goes on."""
        self._signals.watch(*_END, signal.SIGWINCH, signal.SIGTSTP)
        while True:
            ended = self._use_terminal()
            if ended is not signal.SIGTSTP:
                return ended
            process.suspend()

    def _use_terminal(self) -> signal.Signals | None:
        # A write to a terminal that hung up raises OSError: then this signal is the end's name,
        # though it may not have come yet.
        ended: signal.Signals | None = signal.SIGHUP
        with (
            contextlib.suppress(OSError, termios.error),
            _keys_at_once(sys.stdin.fileno()),
            self._live() as live,
        ):
            ended = self._show(live)
        return ended

    def _live(self) -> Live:
        return Live(
            console=self._console, screen=True, auto_refresh=False, vertical_overflow="crop"
        )

    def _show(self, live: Live) -> signal.Signals | None:
        """Until q (None) or the signal that it returns."""
        look_at = time.monotonic() + self._interval
        while True:
            size = self._console.size
            live.update(self._screen.draw(size.width, size.height), refresh=True)
            self._signals.wait(max(0.0, look_at - time.monotonic()), sys.stdin.fileno())
            for number in self._signals.take():
                if number is not signal.SIGWINCH:
                    return number
            for key in _keys(sys.stdin.fileno()):
                if key in ("q", "Q"):
                    return None
                self._screen.press(key)
            if time.monotonic() >= look_at:
                self._look()
                look_at = time.monotonic() + self._interval

    def _look(self) -> None:
        self._looks += 1
        try:
            snapshot = self._reader.snapshot()
        except (NotRunning, ScoreboardError) as error:
            self._screen.miss(str(error))
        else:
            facts = statistics.of(snapshot, with_pss=self._looks % _PSS_EVERY == 0)
            self._screen.see(facts)


@contextlib.contextmanager
def _keys_at_once(terminal: int) -> Iterator[None]:
    """Inside, keys come without Enter and without an echo (termios(3))."""
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal, termios.TCSANOW)
        yield
    finally:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(terminal, termios.TCSANOW, before)


def _keys(terminal: int) -> str:
    """The letter typed since the last call, or "". Raises OSError when the terminal is gone."""
    if not select.select([terminal], [], [], 0)[0]:
        return ""
    data = os.read(terminal, 64)
    if not data:
        raise OSError("the terminal hung up")
    return "" if data.startswith(b"\x1b") else data.decode(errors="replace")
