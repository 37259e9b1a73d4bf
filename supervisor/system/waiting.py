"""The program that the first master becomes by exec(2) once it has handed over, where somebody
waits for its pid: it has no memory to speak of, and sleeps until a signal comes.

It stays the parent of all masters, passes on what is sent to it, reaps, and ends as the last one
did. All its signals are blocked and taken by sigwaitinfo(2), which tells whether the terminal sent
one: that has reached the server by itself.

It imports nothing of ours: the version on the disk may be another by now.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import sys
import time
from collections.abc import Iterable
from typing import NoReturn

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGPWR, signal.SIGUSR1)
WATCHED = (*PASSED_ON, signal.SIGCHLD)
ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGPWR, signal.SIGPIPE)
FLOCK = "hhqqi"  # struct flock, fcntl(2)


class Parent:
    """Of all masters. `serving` is the pid of the one that serves, `patience` the time in s that
    may pass between its end and that of all others, `strangers` are children that are none of ours.
    """

    def __init__(
        self, lock: str, serving: int, patience: float, strangers: Iterable[int] = ()
    ) -> None:
        self.lock = lock
        self.serving = serving
        self.patience = patience
        self.strangers = frozenset(strangers)
        self.ended: dict[int, int] = {}  # status by pid, of those that were reaped
        self.kill_at = float("inf")

    def wait(self) -> int:
        """Until nobody is left; the status of the last server (wait(2))."""
        while True:
            self.look()
            if self.serving in self.ended and not self.left():
                return self.ended[self.serving]
            self.take()

    def look(self) -> None:
        """Which master serves, who has ended."""
        holder = self.holder()
        if holder in self.left():
            self.serving = holder
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                self.ended[pid] = status
        if self.serving not in self.ended:
            self.kill_at = float("inf")
        elif self.kill_at == float("inf"):
            self.kill_at = time.monotonic() + self.patience

    def take(self) -> None:
        """Wait for a signal, and pass it on."""
        if self.serving in self.ended:
            left = self.kill_at - time.monotonic()
            if left <= 0:
                for pid in self.left():
                    os.kill(pid, signal.SIGKILL)
            info = signal.sigtimedwait(WATCHED, max(left, 1.0))
        else:
            info = signal.sigwaitinfo(WATCHED)
        if info is not None and info.si_signo in PASSED_ON and info.si_code <= 0:
            self.look()
            if self.serving not in self.ended:
                os.kill(self.serving, info.si_signo)

    def left(self) -> set[int]:
        """Our children."""
        with open("/proc/thread-self/children") as children:
            return set(map(int, children.read().split())) - self.strangers

    def holder(self) -> int:
        """The pid of the master that owns the lock, 0 where none does."""
        with contextlib.suppress(OSError), open(self.lock, "rb") as lock:
            request = struct.pack(FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 2, 0)
            kind, *_, pid = struct.unpack(FLOCK, fcntl.fcntl(lock, fcntl.F_GETLK, request))
            return 0 if kind == fcntl.F_UNLCK else int(pid)
        return 0


def leave(status: int) -> NoReturn:
    """End with that status; 70 for what was killed."""
    if os.WIFEXITED(status):
        os._exit(os.WEXITSTATUS(status))
    number = os.WTERMSIG(status)
    if number not in ENDINGS:
        os._exit(70)
    signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # pid 1, where the kernel ignores it


def give_back(terminal: int, group: int) -> None:
    """Let the group have the terminal that had it before us."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
    with contextlib.suppress(OSError):
        os.tcsetpgrp(terminal, group)


def main(words: list[str]) -> NoReturn:
    """`words`: the lock's path, the server's pid, patience, then of the terminal the descriptor and
    the group (-1: none), the strangers, and PID=STATUS of what was reaped before.
    """
    lock, serving, patience, terminal, group, *rest = words
    strangers = [int(one) for one in rest if "=" not in one]
    parent = Parent(lock, int(serving), float(patience), strangers)
    for pid, ended in (one.split("=") for one in rest if "=" in one):
        parent.ended[int(pid)] = int(ended)
    status = parent.wait()
    if int(terminal) >= 0:
        give_back(int(terminal), int(group))
    leave(status)


if __name__ == "__main__":
    with contextlib.suppress(OSError), open("/proc/self/comm", "w") as name:
        name.write("supervisor")
    main(sys.argv[1:])
