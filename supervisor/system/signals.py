"""Which signal means what to master and children, in one table; masks, dispositions and timers."""

from __future__ import annotations

# For what every child calls: the module signal makes members of enumerations of all numbers and
# handlers, or an exception of what is none, and each object costs a page of private memory there.
import _signal  # type: ignore[import-not-found]
import contextlib
import enum
import faulthandler
import itertools
import os
import select
import signal
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any, Final, NamedTuple

_ALL: Final = tuple(map(int, signal.valid_signals()))
IGNORED, DEFAULT = int(signal.SIG_IGN), int(signal.SIG_DFL)  # for `set_handler`


class Action(enum.Enum):
    """The actions that a process can take on a signal."""

    STOP = "shut down"
    REAP = "reap"
    STATISTICS = "print statistics"
    IGNORE = "ignore"
    HINT = "ignore, and say once what to do instead"
    JOB = "ignore without a terminal, else default"
    DEADLINE = "end user code that is late"
    DUMP = "dump tracebacks and die"
    DEFAULT = "default"


class Row(NamedTuple):
    """One signal. The texts are for people: see `described`. `signum` may have no name in
    signal.Signals.
    """

    signum: int
    master: Action
    child: Action
    text: str
    child_text: str


class Description(NamedTuple):
    """Signals of one meaning, with their actions in words."""

    signals: str
    master: str
    child: str


_A = Action


_S = signal.Signals


_DRAIN: Final = (
    "drain: finish what is in hand and, where the door was closed, what waits in the accept queue; "
    "exit 0"
)


_LATE: Final = "a deadline of its own has passed: write all tracebacks, die"


_FAULT: Final = "write the traceback to the black box, then the default action"


_HINT: Final = "ignored; the first one logs a warning that names supervisor reload"


_JOB: Final = "ignored where no terminal is ours, else default"


_TELL: Final = "tell its stacks and asyncio's tasks (supervisor stack), and go on"


# The one between them is for the master's death: see orphan.py.
STACK: Final = _S.SIGRTMIN + 1
TASKS: Final = _S.SIGRTMIN + 3


# In order of urgency: pending signals are taken from the top.
TABLE: Final = (
    Row(_S.SIGTERM, _A.STOP, _A.STOP, "shut down", _DRAIN),
    Row(_S.SIGINT, _A.STOP, _A.STOP, "shut down", _DRAIN),
    Row(_S.SIGPWR, _A.STOP, _A.STOP, "shut down", _DRAIN),
    Row(_S.SIGPIPE, _A.STOP, _A.IGNORE, "shut down: the reader of the log is gone", "ignored"),
    Row(_S.SIGCHLD, _A.REAP, _A.DEFAULT, "reap; if a child died: shut down, or restart", "default"),
    Row(_S.SIGUSR1, _A.STATISTICS, _A.STATISTICS, "log the statistics", "log its own line of them"),
    Row(_S.SIGHUP, _A.HINT, _A.IGNORE, _HINT, "ignored"),
    Row(_S.SIGUSR2, _A.HINT, _A.IGNORE, _HINT, "ignored"),
    Row(_S.SIGTTIN, _A.JOB, _A.DEFAULT, _JOB, "default"),
    Row(_S.SIGTTOU, _A.JOB, _A.DEFAULT, _JOB, "default"),
    Row(_S.SIGTSTP, _A.JOB, _A.DEFAULT, _JOB, "default"),
    Row(_S.SIGALRM, _A.DEADLINE, _A.DUMP, "a deadline of user code has passed", _LATE),
    # In a child until it can answer: see `tell_stacks`.
    Row(STACK, _A.IGNORE, _A.IGNORE, "ignored", _TELL),
    Row(TASKS, _A.IGNORE, _A.IGNORE, "ignored", _TELL),
)


_WITHOUT_HANDLER: Final = (
    Description("QUIT, ABRT, SEGV, BUS, FPE, ILL", "die at once; the children follow", _FAULT),
    Description("a second TERM or INT while stopping", "kill what is left, now", "no effect"),
)


# Who started us may have left them ignored (nohup, a shell's `&`).
FATAL: Final = (_S.SIGQUIT, _S.SIGABRT, _S.SIGSEGV, _S.SIGBUS, _S.SIGFPE, _S.SIGILL)


TERMINATIONS: Final = tuple(_S(row.signum) for row in TABLE if row.master is Action.STOP)


MASTERS_ACTIONS: Final = {row.signum: row.master for row in TABLE}


TERMINATION_SET: Final = frozenset(TERMINATIONS)


# One termination is as urgent as another: the first that came decides how the server ends.
_URGENCY: Final = {
    row.signum: -1 if row.master is Action.STOP else place for place, row in enumerate(TABLE)
}


def in_order(pending: Iterable[signal.Signals]) -> list[signal.Signals]:
    """Return the signals of `pending`, most urgent first; terminations as they came."""
    return sorted(pending, key=lambda number: _URGENCY.get(number, len(_URGENCY)))


def described() -> list[Description]:
    """The table of signals in --help and the manual: those of one meaning are one row."""
    rows = []
    for (master, child), group in itertools.groupby(TABLE, lambda row: (row.text, row.child_text)):
        rows.append(Description(", ".join(name_of(row.signum)[3:] for row in group), master, child))
    return [*rows, *_WITHOUT_HANDLER]


Direct = dict[Action, Callable[[signal.Signals], None]]


def block_all() -> set[signal.Signals | int]:
    """Block every signal and return the mask that was."""
    return set(_signal.pthread_sigmask(signal.SIG_BLOCK, _ALL))


def set_mask(mask: set[signal.Signals | int]) -> None:
    """Set the mask; pending signals arrive before this returns."""
    _signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def termination_waits() -> bool:
    """True when a blocked termination signal is waiting."""
    return not TERMINATION_SET.isdisjoint(_signal.sigpending())


def milliseconds(seconds: float | None) -> int | None:
    """A timeout for poll(2): rounded up, or the wait would be begun again, and at most what an
    int holds.
    """
    return None if seconds is None else max(0, min(int(seconds * 1000) + 1, 2**31 - 1))


def unblock_all() -> None:
    """Let every signal through."""
    _signal.pthread_sigmask(signal.SIG_SETMASK, ())


def set_handler(signum: int, handler: Any) -> None:
    """Set the handler, or IGNORED or DEFAULT."""
    _signal.signal(signum, handler)


@contextlib.contextmanager
def blocked(*signums: signal.Signals) -> Iterator[None]:
    """Hold `signums` back."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signums)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def consume(signum: signal.Signals) -> int | None:
    """Take one blocked, pending `signum`; return its sender's pid, None if there is none
    (sigtimedwait(2)).
    """
    facts = signal.sigtimedwait([signum], 0)
    return None if facts is None else facts.si_pid


def await_blocked(signum: int) -> None:
    """Sleep until a blocked signal comes, and take it."""
    signal.sigwait([signum])


def has_terminal() -> bool:
    """True where a terminal controls this process, and a shell may stop it as a job (tty(4))."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def is_ignored(signum: int) -> bool:
    """True where somebody before us (a shell's `&`, nohup) ignored it."""
    return signal.getsignal(signum) is signal.SIG_IGN


def ignore(signum: int) -> None:
    """Ignore it from now on, here and in what is forked."""
    signal.signal(signum, signal.SIG_IGN)


def pass_on(signums: Iterable[signal.Signals], send: Callable[[int], object]) -> None:
    """Let another process have these signals in the place of this one: `send` gives it one."""
    for signum in signums:
        signal.signal(signum, lambda number, _: send(number))


def restore_default(signum: signal.Signals) -> None:
    """Give it its default action and let it through."""
    signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signum])


def restore_all_defaults() -> None:
    """Give every signal its default action, those that are ignored too: exec(2) would keep it."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)


def dump_at_deadline(descriptor: int) -> None:
    """Make SIGALRM, back at its default, write all tracebacks to `descriptor` before it kills.

    Works inside a long C call too. SIGXCPU as well: a limit of CPU time is a deadline.
    """
    for number in (signal.SIGALRM, signal.SIGXCPU):
        faulthandler.register(number, file=descriptor, all_threads=True, chain=True)


def dump_at_faults(descriptor: int) -> None:
    """Make SEGV, BUS, FPE, ILL, ABRT and QUIT write all tracebacks to `descriptor` before they
    kill.
    """
    faulthandler.enable(file=descriptor, all_threads=True)
    faulthandler.register(signal.SIGQUIT, file=descriptor, all_threads=True, chain=True)


def tell_stacks(descriptor: int, tell: Callable[[int, FrameType | None], object]) -> None:
    """Make STACK write the Python stacks of all threads to `descriptor`, also inside a C call, and
    TASKS call `tell` as soon as the interpreter runs.

    Two signals, though faulthandler could call a second handler of one (`chain`): it would have to
    let the signal interrupt its own handler, and a few of them at once would overflow the small
    stack on which it runs.
    """
    set_handler(TASKS, tell)
    faulthandler.register(STACK, file=descriptor, all_threads=True, chain=False)


def set_timer(seconds: float) -> None:
    """Send SIGALRM after `seconds`; 0 cancels."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


def name_of(signum: int) -> str:
    """`SIGTERM`, or `signal 40` for one without a name."""
    if signum in (STACK, TASKS):
        return f"SIGRTMIN+{signum - signal.SIGRTMIN}"
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"


def pid_is_gone(pidfd: int, timeout: float | None) -> bool:
    """Wait until the process behind a pidfd has ended; False at the timeout (pidfd_open(2))."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(milliseconds(timeout)))
