"""The death of the master, told by the kernel to a child that may be stuck in C code.

Python runs a handler when its interpreter comes to it, and inside a C call it does not. So the end
of an orphan that is stuck in one must be arranged beforehand, in the kernel, and must do no harm
while the master lives. Two events send the same signal: the death of the master
(PR_SET_PDEATHSIG), and a timer that runs while the child has something in hand. Its handler is good
for one delivery (SA_RESETHAND): the kernel then puts back the default action, which kills. So one
event alone is harmless, and the second kills, unless the interpreter ran between them and renewed
the handler.

- Not stuck, the timer: the handler is renewed, and the timer too while something is in hand.
- Not stuck, the death: the child is told to stop, and has the deadline of every stop, SIGALRM, by
  which faulthandler kills inside C code too. The timer means nothing any more.
- Stuck, the death and later the timer: killed when the timer ends, so within its time.
- Stuck, the timer and later the death: killed at once; it was stuck for as long already.

A thread or a process that watches would do it too, for memory in each child, and with a second
thread os.fork() in user code is not safe.
"""

from __future__ import annotations

import ctypes
import functools
import os
import signal
from collections.abc import Callable
from typing import Any, Final

from supervisor.errors import SystemFailure
from supervisor.system.process import send_at_masters_death

_SIGNAL: Final = signal.SIGRTMIN + 2
_CLOCK_MONOTONIC: Final = 1
_SA_RESETHAND: Final = 0x80000000


class _Action(ctypes.Structure):
    """struct sigaction, sigaction(2)."""

    _fields_ = [
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_byte * 128),
        ("flags", ctypes.c_uint),
        ("restorer", ctypes.c_void_p),
    ]


class _Event(ctypes.Structure):
    """struct sigevent, sigevent(3type)."""

    _fields_ = [
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),  # 0: SIGEV_SIGNAL
        ("rest", ctypes.c_byte * 48),
    ]


class Orphanage:
    """One of each child. `orphaned` is called, as a handler of signals is, when the master is dead;
    `is_busy` tells whether the timer goes on. `timeout` in s.
    """

    def __init__(
        self, timeout: float, orphaned: Callable[[], object], is_busy: Callable[[], bool]
    ) -> None:
        self._timeout = timeout
        self._orphaned = orphaned
        self._is_busy = is_busy
        self._master = 0
        self._timer = ctypes.c_void_p()

    def begin(self, master: int) -> None:
        """In the child, with signals blocked, after any change of credentials, which clears the
        request.
        """
        self._master = master
        self._renew()
        event = _Event(signo=_SIGNAL)
        _call("timer_create", _CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(self._timer))
        send_at_masters_death(_SIGNAL, master)

    def arm(self) -> None:
        """Let the timer run from now on, once. Any thread."""
        seconds = int(self._timeout)
        nanoseconds = max(1, int((self._timeout - seconds) * 1e9))
        setting = (ctypes.c_long * 4)(0, 0, seconds, nanoseconds)  # struct itimerspec
        _call("timer_settime", self._timer, 0, ctypes.byref(setting), None)

    def _renew(self) -> None:
        signal.signal(_SIGNAL, self._told)
        action = _Action()
        _call("sigaction", _SIGNAL, None, ctypes.byref(action))
        action.flags |= _SA_RESETHAND
        _call("sigaction", _SIGNAL, ctypes.byref(action), None)

    def _told(self, _signum: int, _frame: Any) -> None:
        if os.getppid() != self._master:
            signal.signal(_SIGNAL, signal.SIG_IGN)
            self._orphaned()
            return
        self._renew()
        if self._is_busy():
            self.arm()


@functools.cache
def _function(name: str) -> Any:
    try:
        return getattr(ctypes.CDLL(None, use_errno=True), name)
    except AttributeError:  # glibc before 2.34
        return getattr(ctypes.CDLL("librt.so.1", use_errno=True), name)


def _call(name: str, *arguments: Any) -> None:
    if _function(name)(*arguments) != 0:
        raise SystemFailure(f"{name}: {os.strerror(ctypes.get_errno())}")
