"""The commands of `[master] before`: run in order, once, before the imports of a start."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from supervisor.config.schema import Config
from supervisor.errors import StartError, Stop
from supervisor.log.entries import log
from supervisor.system import process, signals
from supervisor.system.notify import Notifier
from supervisor.system.recorder import SignalRecorder

_TOLD_EVERY: Final = 10.0  # s; a service manager hears that the start goes on
_LONGEST_LINE: Final = 65_536  # bytes; a longer one is logged in parts


def run_all(config: Config, recorder: SignalRecorder, notifier: Notifier) -> None:
    """Raises StartError for the first one that fails, and Stop when told to stop, the command's
    processes gone.
    """
    for place, words in enumerate(config.master.before):
        command = _Command(words, recorder, notifier)
        failure = command.run(config.master.stop_timeout)
        if failure:
            raise StartError(f"{config.file}: master.before[{place}]: {command.text}: {failure}")


class _Command:
    """One command. It leads a process group of its own, so that all of it is told to end."""

    def __init__(self, words: Sequence[str], recorder: SignalRecorder, notifier: Notifier) -> None:
        self.text = shlex.join(words)
        self._words = words
        self._recorder = recorder
        self._notifier = notifier
        self._rest = b""  # of its output, the line that has no end yet
        self._last = ""

    def run(self, stop_timeout: float) -> str:
        """Run it to its end, and return how it failed, "" where not. Raises Stop."""
        log.info("before", command=self.text)
        try:
            running = subprocess.Popen(
                self._words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                process_group=0,
                preexec_fn=partial(_become_command, os.getpid()),
            )
        except OSError as error:
            return error.strerror or str(error)
        assert running.stdout is not None
        with running.stdout as output:
            os.set_blocking(output.fileno(), False)
            try:
                self._wait(running, output.fileno(), stop_timeout)
            finally:
                if running.returncode != 0:
                    process.tell_group(running.pid, signal.SIGKILL)
                    running.wait()
        return self._failure(running.returncode)

    def _wait(self, running: subprocess.Popen[bytes], output: int, stop_timeout: float) -> None:
        """Until it has ended. SIGCHLD ends each wait, and so does a termination signal."""
        watched = [output]
        told_at: float | None = None
        while running.poll() is None:
            now = time.monotonic()
            number = self._recorder.termination()
            if number is not None and told_at is None:
                process.tell_group(running.pid, signal.SIGTERM)
                told_at = now
            if told_at is not None and now >= told_at + stop_timeout:
                break
            left = _TOLD_EVERY if told_at is None else told_at + stop_timeout - now
            self._notifier.status(f"before: {self.text}", 2 * _TOLD_EVERY + stop_timeout)
            self._recorder.wait(left, *watched)
            if not self._take(output):
                watched.clear()
        self._take(output)
        self._say(self._rest)
        number = self._recorder.termination()
        if number is not None:
            raise Stop(number)

    def _take(self, output: int) -> bool:
        """Log what it has said; False when it will say no more."""
        while True:
            try:
                data = os.read(output, _LONGEST_LINE)
            except BlockingIOError:
                return True
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._say(line)
            if len(self._rest) > _LONGEST_LINE:
                self._say(self._rest)
                self._rest = b""
            if not data:
                return False

    def _say(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        if text:
            self._last = text
            log.info("before", program=os.path.basename(self._words[0]), output=text)

    def _failure(self, code: int) -> str:
        if code == 0:
            return ""
        how = f"exit {code}" if code > 0 else f"killed by {signals.name_of(-code)}"
        return f"{how}: {self._last}" if self._last else how


def _become_command(master: int) -> None:
    """Between fork and exec (the master has no threads here): nothing of our signals is kept, and
    the command does not outlive a master that is killed.
    """
    signals.restore_all_defaults()
    signals.unblock_all()
    process.send_at_masters_death(signal.SIGTERM, master)
