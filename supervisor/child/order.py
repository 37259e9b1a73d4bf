"""The order to stop, and how the threads of a child wait without missing it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

from supervisor.system.descriptors import wait_for_any
from supervisor.system.recorder import SignalRecorder


class Order:
    """One of each child. `signum` is the signal that told it to stop, None before.

    The kernel gives a signal to any thread, Python runs its handler in the main thread alone. So
    the main thread waits on the recorder's descriptor, and empties it. No other thread may: it
    would take the byte that the main thread waits for, which then sleeps on, and the handler never
    runs. The other threads wait on a descriptor that the handler makes readable for ever.
    """

    def __init__(self, recorder: SignalRecorder) -> None:
        self.signum: signal.Signals | None = None
        self._recorder = recorder
        self._given = -1
        self._callback: Callable[[], object] | None = None

    def begin(self) -> None:
        """In the process that is the child: make the descriptor, which no other child shares."""
        self._given = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def give(self, signum: signal.Signals) -> None:
        """Stop. Called once, in the signal handler."""
        self.signum = signum
        os.eventfd_write(self._given, 1)
        if self._callback is not None:
            self._callback()

    def when_given(self, callback: Callable[[], object]) -> None:
        """Call `callback` with the order; at once if it was given."""
        self._callback = callback
        if self.signum is not None:
            callback()

    def wait(self, timeout: float | None, *descriptors: int) -> None:
        """Wait at most `timeout` s for the order or for one of `descriptors`. Any thread; it may
        return early.
        """
        if threading.current_thread() is threading.main_thread():
            self._recorder.wait(timeout, *descriptors)
        elif self.signum is None:
            wait_for_any(timeout, self._given, *descriptors)
        else:
            wait_for_any(timeout, *descriptors)
