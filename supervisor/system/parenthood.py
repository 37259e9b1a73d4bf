"""The first master becomes the program of waiting.py, once it has handed over."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from supervisor.log import entries
from supervisor.system import descriptors, signals, waiting
from supervisor.system.process import Death
from supervisor.system.recorder import SignalRecorder

# Read before another version may lie on the disk.
_PROGRAM: Final = Path(waiting.__file__).read_bytes()


class Parenthood(NamedTuple):
    """All that the program has to know; see there."""

    lock: str
    serving: int
    patience: float
    terminal: tuple[int, int] | None
    strangers: frozenset[int]
    ended: tuple[Death, ...]

    def become(self, recorder: SignalRecorder) -> NoReturn:
        """Only the standard descriptors are kept, and the signals that nobody has obeyed yet."""
        entries.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, waiting.WATCHED)
        for number in recorder.take():
            os.kill(os.getpid(), number)
        for number in (signal.SIGHUP, signal.SIGUSR2):
            signals.ignore(number)
        terminal = self.terminal
        descriptors.close_all_descriptors()
        try:
            program = os.memfd_create("supervisor", 0)
            os.write(program, _PROGRAM)
            os.execv(
                sys.executable,
                [sys.executable, "-I", "-S", f"/dev/fd/{program}", *self._words(terminal)],
            )
        except OSError:  # no such interpreter any more: do it here
            signal.set_wakeup_fd(-1)
            waiting.main(self._words(terminal))

    def _words(self, terminal: tuple[int, int] | None) -> list[str]:
        descriptor, group = terminal or (-1, -1)
        numbers = [self.serving, self.patience, descriptor, group, *sorted(self.strangers)]
        ended = [f"{one.pid}={_status_of(one)}" for one in self.ended]
        return [self.lock, *map(str, numbers), *ended]


def _status_of(death: Death) -> int:
    """As wait(2) has it."""
    return death.signum if death.signum is not None else (death.exit_code or 0) << 8
