"""How a process records signals, and waits for one without losing it.

A handler adds the number to the pending set and returns. The byte that `set_wakeup_fd` writes only
ends the wait; the set says what came. Two roads were rejected: `signal.pause()` loses a signal that
comes just before it, and signalfd needs signals blocked, which a forked worker would inherit.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final

from supervisor.errors import Stop, SystemFailure
from supervisor.system.signals import (
    DEFAULT,
    FATAL,
    IGNORED,
    MASTERS_ACTIONS,
    TABLE,
    TERMINATION_SET,
    Action,
    Direct,
    block_all,
    has_terminal,
    ignore,
    in_order,
    is_ignored,
    milliseconds,
    name_of,
    restore_default,
    set_handler,
    set_mask,
)

_SOON: Final = 0.01  # s
_PATIENCE: Final = 0.5  # s that user code may take to end after Stop was raised in it


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
        self._childs: list[tuple[int, Any]] = []  # the dispositions that a child has to change
        # Called inside the handler, for user code that does not end; it should not come back.
        self.on_deaf: Callable[[signal.Signals, FrameType | None], object] | None = None
        # Called inside the handler, on top of user code for whose end nothing waits; returns when
        # it wants to be called again (monotonic s).
        self.meanwhile: Callable[[], float] | None = None
        self._is_meanwhile = False
        self._late_at = 0.0  # monotonic s: the deadline of the user code that runs
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
        for number in filter(is_ignored, FATAL):
            restore_default(number)
        # What is recorded by both keeps its handler: each change costs a page of private memory,
        # and so does each look at the table. With a terminal, what stops a job is as the process
        # group has it.
        self._childs = [
            (row.signum, self._disposition(row.child))
            for row in TABLE
            if row.child is not row.master and not (row.master is Action.JOB and self._is_job)
        ]

    def become_child(self, direct: Direct) -> None:
        """Obey TABLE as a child does, with an own descriptor and nothing pending; signals are
        blocked.
        """
        signal.set_wakeup_fd(-1)
        os.close(self._reader)
        os.close(self._writer)
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._pending.clear()
        self._direct, self.on_deaf, self.meanwhile = direct, None, None
        self._is_meanwhile, self._raised = False, None
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for signum, disposition in self._childs:
            set_handler(signum, disposition)

    def _dispose(self, signum: int, action: Action) -> None:
        set_handler(signum, self._disposition(action))

    def _disposition(self, action: Action) -> Any:
        if action is Action.IGNORE:
            return IGNORED
        if action in (Action.DEFAULT, Action.DUMP):
            return DEFAULT
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
        action = MASTERS_ACTIONS.get(number)
        if action in self._direct:
            self._direct[action](number)
        if self._is_meanwhile and (number not in self._raises or self._is_early()):
            self._obey_meanwhile()
        elif number in self._raises:
            self._raise(number, frame)

    def _is_early(self) -> bool:
        """True where the alarm is not yet that of the deadline."""
        return time.monotonic() < self._late_at

    def _raise(self, number: signal.Signals, frame: FrameType | None) -> None:
        """Raise Stop in the user code that runs. Once: code that swallowed it is left where it is,
        half a second later.
        """
        if self._raised is None:
            self._raised = number
            if self.on_deaf is not None:
                self._set_alarm(_PATIENCE)
            raise Stop(number)
        if number is signal.SIGALRM and self.on_deaf is not None:
            self._raises, self._is_meanwhile = frozenset(), False
            raised, self._raised = self._raised, None
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
        return next((number for number in self._pending if number in TERMINATION_SET), None)

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
        ready = poll.poll(milliseconds(timeout))
        self.clear()
        return bool(ready)

    @contextlib.contextmanager
    def stop_raised(self) -> Iterator[None]:
        """Inside, a termination signal raises Stop, also one that is pending already, or that the
        code inside has swallowed.
        """
        with self._raising(self._raises | TERMINATION_SET | {signal.SIGALRM}):
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
        _begin_watchdog(seconds)
        try:
            with self._raising(self._raises | {signal.SIGALRM}):
                self._set_alarm(seconds)
                yield
                if self._raised is signal.SIGALRM:
                    raise Stop(signal.SIGALRM)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            faulthandler.cancel_dump_traceback_later()

    def _set_alarm(self, seconds: float) -> None:
        self._late_at = time.monotonic() + max(seconds, 1e-3)
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))

    @contextlib.contextmanager
    def obeyed_meanwhile(self) -> Iterator[None]:
        """Inside `deadline`: `meanwhile` is called at once, at each signal, and when it wants to
        be. The deadline does not run on until it returns; it may fork.
        """
        self._is_meanwhile = self.meanwhile is not None
        try:
            if self._is_meanwhile:
                self._obey_meanwhile()
            yield
        finally:
            self._is_meanwhile = False

    def _obey_meanwhile(self) -> None:
        assert self.meanwhile is not None
        self._is_meanwhile = False
        with self._suspended():
            again_at = self.meanwhile()
        self._is_meanwhile = True
        if self._pending:  # it came just now, and its handler has left it to us
            self._obey_meanwhile()
        elif again_at < self._late_at:
            soon = max(again_at - time.monotonic(), _SOON)
            signal.setitimer(signal.ITIMER_REAL, soon)

    @contextlib.contextmanager
    def _suspended(self) -> Iterator[None]:
        """Inside, the deadline that runs does not, and has no thread that a fork would not bear."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        left = self._late_at - time.monotonic()
        before = self._raises, self._raised
        self._raises, self._raised = frozenset(), None
        try:
            yield
        finally:
            self._raises, self._raised = before
            _begin_watchdog(left)
            self._set_alarm(left)

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
                changed.append(f"handler of {name_of(row.signum)}")
                self._dispose(row.signum, row.master)
        blocked = {row.signum for row in TABLE} & signal.pthread_sigmask(signal.SIG_BLOCK, ())
        if blocked:
            changed += [f"{name_of(number)} blocked" for number in sorted(blocked)]
            signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        return changed

    def close(self) -> None:
        """Give the wakeup descriptor back. Handlers stay, so that a late signal is recorded, not
        fatal.
        """
        signal.set_wakeup_fd(-1)
        os.close(self._reader)
        os.close(self._writer)


def _begin_watchdog(seconds: float) -> None:
    """A second after so many the process dumps all tracebacks and dies."""
    mask = block_all()  # the new thread must not take a signal that is to interrupt this one
    try:
        faulthandler.dump_traceback_later(max(seconds, 0.0) + _PATIENCE * 2, file=2, exit=True)
    except RuntimeError:
        limited = "memory or processes are limited (ulimit -v, -u)"
        raise SystemFailure(f"no thread for the watchdog: {limited}") from None
    finally:
        set_mask(mask)
