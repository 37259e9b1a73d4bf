"""The errors that are expected, each with its exit status.

The command line turns them into one line and that status; the master does so for its own end.
"""

from __future__ import annotations

import enum
import errno
import signal
from collections.abc import Sequence
from typing import Final


class Exit(enum.IntEnum):
    """Exit statuses of `supervisor start`; the numbers are those of sysexits(3)."""

    OK = 0
    USAGE = 2
    NOT_RUNNING = 3  # of the commands that look at a server; as status(8) of the LSB
    UNAVAILABLE = 69  # a listener cannot be bound
    CRASH = 70  # a child died unexpectedly, or an internal error
    SYSTEM = 71  # an operating system call failed
    ALREADY_RUNNING = 75
    START_FAILED = 76
    NO_PERMISSION = 77
    CONFIG = 78


# What `start` ends with, in words: --help, the manual page and the README show it.
STATUSES: Final = (
    (
        "dies of TERM, INT, PIPE, PWR",
        "it was told to, and everything was cleaned up (as pid 1: exit 128 + number)",
    ),
    (f"{Exit.OK:d}", "every worker finished its job by itself"),
    (f"{Exit.USAGE:d}", "wrong command line"),
    (f"{Exit.UNAVAILABLE:d}", "a listener cannot be bound: in use, host unknown"),
    (f"{Exit.CRASH:d}", "a child died unexpectedly, or an internal error"),
    (f"{Exit.SYSTEM:d}", "an operating system call failed"),
    (f"{Exit.ALREADY_RUNNING:d}", "already running; the pid is named"),
    (
        f"{Exit.START_FAILED:d}",
        "start failure: user code raised, a child died before it was ready, start_timeout passed",
    ),
    (f"{Exit.NO_PERMISSION:d}", "no permission: user, group, runtime directory, port"),
    (f"{Exit.CONFIG:d}", "configuration error: all problems, one line each"),
)


class Stop(BaseException):
    """Raised inside user code that has to end now: a termination signal or a deadline.

    It derives from BaseException, so that `except Exception` does not swallow it.
    """

    def __init__(self, signum: int = signal.SIGTERM) -> None:
        super().__init__(signum)
        self.signum = signal.Signals(signum)

    def __str__(self) -> str:
        return self.signum.name


class SupervisorError(Exception):
    """An expected error: one line that says what, where and what to do, and an exit status."""

    exit_code: Exit = Exit.CRASH


class ConfigError(SupervisorError):
    """The configuration is wrong. Carries every problem found, one line each."""

    exit_code = Exit.CONFIG

    def __init__(self, problems: Sequence[str], exit_code: Exit = Exit.CONFIG) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
        self.exit_code = exit_code


class NameProblem(SupervisorError):
    """A dotted name in the configuration leads nowhere. `key` is the option that holds it."""

    exit_code = Exit.CONFIG

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key


class ListenError(SupervisorError):
    """A listener cannot be bound."""

    exit_code = Exit.UNAVAILABLE


class SystemFailure(SupervisorError):
    """The operating system refused something that we cannot do without (fork, mmap)."""

    exit_code = Exit.SYSTEM


class AlreadyRunning(SupervisorError):
    """Another master holds the lock of this runtime directory."""

    exit_code = Exit.ALREADY_RUNNING


class StartError(SupervisorError):
    """User code failed before the server was ready."""

    exit_code = Exit.START_FAILED


class NoPermission(SupervisorError):
    """User, group, runtime directory or port are not ours to use."""

    exit_code = Exit.NO_PERMISSION


class NotRunning(SupervisorError):
    """The command needs a running server."""

    exit_code = Exit.NOT_RUNNING


class MissingExtra(SupervisorError):
    """An optional dependency is not installed."""

    exit_code = Exit.UNAVAILABLE

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(
            f"{what} needs {package}; install it with: pip install 'prefork-supervisor[{extra}]'"
        )


class ScoreboardError(SupervisorError):
    """A scoreboard file cannot be understood: truncated, of another version, or not one."""


_SHORTAGES: Final = frozenset(
    (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EAGAIN)
)


def is_shortage(error: BaseException) -> bool:
    """True where the system has run out: of descriptors, memory, room on a disk, processes."""
    if isinstance(error, ImportError):
        return "failed to map" in str(error)  # what dlopen(3) says without address space
    if isinstance(error, SystemError):
        return "exception" in str(error)  # the interpreter had no memory even for a MemoryError
    return isinstance(error, MemoryError) or getattr(error, "errno", None) in _SHORTAGES
