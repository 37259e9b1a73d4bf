"""Which signal means what, how it is recorded, and how a process waits for one without losing it.

A handler adds the number to the pending set and returns. The byte that `set_wakeup_fd` writes only
ends the wait; the set says what came. Two roads were rejected: `signal.pause()` loses a signal that
comes just before it, and signalfd needs signals blocked, which a forked worker would inherit.
"""

from __future__ import annotations

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

from supervisor.errors import Stop, SystemFailure


class Action(enum.Enum):
    """The actions that a process can take on a signal."""

    STOP = "shut down"
    REAP = "reap"
    STATISTICS = "print statistics"
    IGNORE = "ignore"
    JOB = "ignore without a terminal, else default"
    DEADLINE = "end user code that is late"
    DUMP = "dump tracebacks and die"
    DEFAULT = "default"


class Row(NamedTuple):
    """One signal. The texts are for people: see `described`."""

    signum: signal.Signals
    master: Action
    child: Action
    text: str
    child_text: str


class Description(NamedTuple):
    """Signals of one meaning, with their actions in words."""

    signals: str
    master: str
    child: str


_PATIENCE: Final = 0.5  # s that user code may take to end after Stop was raised in it

_A = Action


_S = signal.Signals


_DRAIN: Final = (
    "drain: finish what is in hand and, where the door was closed, what waits in the accept queue; "
    "exit 0"
)


_LATE: Final = "a deadline of its own has passed: write all tracebacks, die"


_FAULT: Final = "write the traceback to the black box, then the default action"


_JOB: Final = "ignored where no terminal is ours, else default"


# In order of urgency: pending signals are taken from the top.
TABLE: Final = (
    Row(_S.SIGTERM, _A.STOP, _A.STOP, "shut down", _DRAIN),
    Row(_S.SIGINT, _A.STOP, _A.STOP, "shut down", _DRAIN),
    Row(_S.SIGPWR, _A.STOP, _A.STOP, "shut down", _DRAIN),
    Row(_S.SIGPIPE, _A.STOP, _A.IGNORE, "shut down: the reader of the log is gone", "ignored"),
    Row(_S.SIGCHLD, _A.REAP, _A.DEFAULT, "reap; if a child died: shut down, or restart", "default"),
    Row(_S.SIGUSR1, _A.STATISTICS, _A.STATISTICS, "log the statistics", "log its own line of them"),
    Row(_S.SIGHUP, _A.IGNORE, _A.IGNORE, "ignored", "ignored"),
    Row(_S.SIGUSR2, _A.IGNORE, _A.IGNORE, "ignored", "ignored"),
    Row(_S.SIGTTIN, _A.JOB, _A.DEFAULT, _JOB, "default"),
    Row(_S.SIGTTOU, _A.JOB, _A.DEFAULT, _JOB, "default"),
    Row(_S.SIGTSTP, _A.JOB, _A.DEFAULT, _JOB, "default"),
    Row(_S.SIGALRM, _A.DEADLINE, _A.DUMP, "a deadline of user code has passed", _LATE),
)


_WITHOUT_HANDLER: Final = (
    Description("QUIT, ABRT, SEGV, BUS, FPE, ILL", "die at once; the children follow", _FAULT),
    Description("a second TERM or INT while stopping", "kill what is left, now", "no effect"),
)


# Who started us may have left them ignored (nohup, a shell's `&`).
_FATAL: Final = (_S.SIGQUIT, _S.SIGABRT, _S.SIGSEGV, _S.SIGBUS, _S.SIGFPE, _S.SIGILL)


TERMINATIONS: Final = tuple(row.signum for row in TABLE if row.master is Action.STOP)


_ACTIONS: Final = {row.signum: row.master for row in TABLE}


_TERMINATIONS: Final = frozenset(TERMINATIONS)


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
        rows.append(Description(", ".join(row.signum.name[3:] for row in group), master, child))
    return [*rows, *_WITHOUT_HANDLER]


Direct = dict[Action, Callable[[signal.Signals], None]]


class SignalRecorder:
    """The pending set of this process, and the descriptor that becomes readable when it grows.

    Made in the master; each child goes on with the one that it inherits. Main thread only.
    """

    def __init__(self) -> None:
        self._pending: dict[signal.Signals, None] = {}  # in the order of their coming
        self._raises: frozenset[signal.Signals] = frozenset()
        self._raised: signal.Signals | None = None  # Stop was raised by it, inside user code
        self._direct: Direct = {}
        self._is_job = False  # of a shell at a terminal
        # Called inside the handler, for user code that does not end; it should not come back.
        self.on_deaf: Callable[[signal.Signals, FrameType | None], object] | None = None
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """The descriptor to wait on; `clear` it before `take`."""
        return self._reader

    def install(self, direct: Direct | None = None) -> None:
        """Obey TABLE as the master does. What `direct` has for an action is called in the
        handler.
        """
        self._direct = direct or {}
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._is_job = has_terminal()
        for row in TABLE:
            if row.master is not Action.JOB:
                self._dispose(row.signum, row.master)
            elif not self._is_job:
                ignore(row.signum)
        for number in filter(is_ignored, _FATAL):
            restore_default(number)

    def become_child(self, direct: Direct) -> None:
        """Obey TABLE as a child does, with an own descriptor and nothing pending; signals are
        blocked.
        """
        signal.set_wakeup_fd(-1)
        os.close(self._reader)
        os.close(self._writer)
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._pending.clear()
        self._direct, self.on_deaf = direct, None
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for row in TABLE:
            # What is recorded by both keeps its handler: each change costs a page of private
            # memory. With a terminal, what stops a job is as the process group has it.
            if row.child is not row.master and not (row.master is Action.JOB and self._is_job):
                self._dispose(row.signum, row.child)

    def _dispose(self, signum: signal.Signals, action: Action) -> None:
        signal.signal(signum, self._disposition(action))

    def _disposition(self, action: Action) -> Any:
        if action is Action.IGNORE:
            return signal.SIG_IGN
        if action in (Action.DEFAULT, Action.DUMP):
            return signal.SIG_DFL
        return self._record

    def watch(self, *signums: signal.Signals) -> None:
        """Record `signums` and nothing else: for a program at a terminal."""
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in signums:
            signal.signal(number, self._record)

    def _record(self, signum: int, frame: FrameType | None) -> None:
        number = signal.Signals(signum)
        if number is not signal.SIGALRM:
            self._pending[number] = None
        action = _ACTIONS.get(number)
        if action in self._direct:
            self._direct[action](number)
        if number in self._raises:
            self._raise(number, frame)

    def _raise(self, number: signal.Signals, frame: FrameType | None) -> None:
        """Raise Stop in the user code that runs. Once: code that swallowed it is left where it is,
        half a second later.
        """
        if self._raised is None:
            self._raised = number
            if self.on_deaf is not None:
                signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
            raise Stop(number)
        if number is signal.SIGALRM and self.on_deaf is not None:
            self._raises, raised, self._raised = frozenset(), self._raised, None
            faulthandler.cancel_dump_traceback_later()
            self.on_deaf(raised, frame)

    def take(self) -> list[signal.Signals]:
        """Return and forget what is pending, most urgent first."""
        # A handler between the two stores adds to a set that is still read below, or to the new
        # one.
        taken, self._pending = self._pending, {}
        return in_order(taken)

    def record(self, signum: signal.Signals) -> None:
        """Count a signal that was consumed by other means (sigtimedwait) as pending."""
        self._pending[signum] = None

    def termination(self) -> signal.Signals | None:
        """The pending signal that ends the server, left pending; None if there is none."""
        return next((number for number in self._pending if number in _TERMINATIONS), None)

    def clear(self) -> None:
        """Empty the descriptor; the pending set stays."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._reader, 4096):
                pass

    def wait(self, timeout: float | None, *descriptors: int) -> bool:
        """Wait until a signal is pending or one of `descriptors` is readable; False at the timeout
        (s).
        """
        poll = select.poll()
        for descriptor in (self.fileno(), *descriptors):
            poll.register(descriptor, select.POLLIN)
        ready = poll.poll(_milliseconds(timeout))
        self.clear()
        return bool(ready)

    @contextlib.contextmanager
    def stop_raised(self) -> Iterator[None]:
        """Inside, a termination signal raises Stop, also one that is pending already, or that the
        code inside has swallowed.
        """
        with self._raising(self._raises | _TERMINATIONS | {signal.SIGALRM}):
            self._obey()
            yield
            self._obey()

    def _obey(self) -> None:
        number = self.termination()
        if number is not None:
            raise Stop(number)

    @contextlib.contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        """Inside, Stop(SIGALRM) is raised after `seconds`, also where the code inside swallowed it.

        What cannot be interrupted (C code) makes the process dump all tracebacks to stderr and
        die a second later.
        Not across a fork: it keeps a watchdog thread. Raises SystemFailure where there is none.
        """
        mask = block_all()  # the new thread must not take a signal that is to interrupt this one
        try:
            faulthandler.dump_traceback_later(max(seconds, 0.0) + _PATIENCE * 2, file=2, exit=True)
        except RuntimeError:
            limited = "memory or processes are limited (ulimit -v, -u)"
            raise SystemFailure(f"no thread for the watchdog: {limited}") from None
        finally:
            set_mask(mask)
        try:
            with self._raising(self._raises | {signal.SIGALRM}):
                signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
                yield
                if self._raised is signal.SIGALRM:
                    raise Stop(signal.SIGALRM)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            faulthandler.cancel_dump_traceback_later()

    @contextlib.contextmanager
    def _raising(self, numbers: frozenset[signal.Signals]) -> Iterator[None]:
        before, self._raises = self._raises, numbers
        try:
            yield
        finally:
            self._raises = before
            if not before:
                self._raised = None

    def keep_ears(self) -> list[str]:
        """Put back what user code has changed of handlers, mask and wakeup descriptor; return what
        that was. Main thread, outside `direct`.
        """
        changed = []
        if signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False) != self._writer:
            changed.append("wakeup descriptor")
        for row in TABLE:
            is_same = signal.getsignal(row.signum) == self._disposition(row.master)
            if row.master is not Action.JOB and not is_same:
                changed.append(f"handler of {row.signum.name}")
                self._dispose(row.signum, row.master)
        blocked = {row.signum for row in TABLE} & signal.pthread_sigmask(signal.SIG_BLOCK, ())
        if blocked:
            changed += [f"{number.name} blocked" for number in sorted(blocked)]
            signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        return changed

    def close(self) -> None:
        """Give the wakeup descriptor back. Handlers stay, so that a late signal is recorded, not
        fatal.
        """
        signal.set_wakeup_fd(-1)
        os.close(self._reader)
        os.close(self._writer)


def block_all() -> set[signal.Signals | int]:
    """Block every signal and return the mask that was."""
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()))


def set_mask(mask: set[signal.Signals | int]) -> None:
    """Set the mask; pending signals arrive before this returns."""
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def termination_waits() -> bool:
    """True when a blocked termination signal is waiting."""
    return not _TERMINATIONS.isdisjoint(signal.sigpending())


def _milliseconds(seconds: float | None) -> int | None:
    """A timeout for poll(2): rounded up, or the wait would be begun again, and at most what an
    int holds.
    """
    return None if seconds is None else max(0, min(int(seconds * 1000) + 1, 2**31 - 1))


def unblock_all() -> None:
    """Let every signal through."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


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


def has_terminal() -> bool:
    """True where a terminal controls this process, and a shell may stop it as a job (tty(4))."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def is_ignored(signum: signal.Signals) -> bool:
    """True where somebody before us (a shell's `&`, nohup) ignored it."""
    return signal.getsignal(signum) is signal.SIG_IGN


def ignore(signum: signal.Signals) -> None:
    """Ignore it from now on, here and in what is forked."""
    signal.signal(signum, signal.SIG_IGN)


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


def set_timer(seconds: float) -> None:
    """Send SIGALRM after `seconds`; 0 cancels."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


def name_of(signum: int) -> str:
    """`SIGTERM`, or `signal 40` for one without a name."""
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"


def pid_is_gone(pidfd: int, timeout: float | None) -> bool:
    """Wait until the process behind a pidfd has ended; False at the timeout (pidfd_open(2))."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(_milliseconds(timeout)))
