"""Requests that are in hand for long (`slow_request`): each is told of once, with its stack, and
goes on. A thread looks, for the main thread may be inside C code, and SIGALRM is for deadlines.

The thread waits for ever while nothing is in hand, else until the oldest request would be slow. So
it wakes at most twice in that time, however many requests there are.
"""

from __future__ import annotations

import itertools
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from time import monotonic_ns
from types import FrameType
from typing import Any, Final

from supervisor.child.requests import Batch, InHand, Requests
from supervisor.system import signals

_LIFE: Final = "supervisor.child.life"
Tell = Callable[[InHand, str], object]


class WatchedRequests(Requests):
    """Requests of which each that takes `slow` s is told, with the stack of its thread."""

    def __init__(self, row: memoryview, timeout: float, slow: float, tell: Tell) -> None:
        super().__init__(row, timeout)
        self._watcher = Watcher(slow, tell)

    def begin(self, request: InHand, now: int, name: bytes = b"", request_id: bytes = b"") -> int:
        place = super().begin(request, now, name, request_id)
        if request.timed:  # else its type looks itself, as `asgi` does
            self._watcher.begin(request)
        return place

    enter = begin  # of a class its own: see Requests

    def _end(self, request: InHand, *facts: Any, **more: Any) -> None:
        super()._end(request, *facts, **more)
        self._watcher.end(request)

    leave = _end

    def batch(self) -> Batch:
        return _WatchedBatch(self, self._watcher)


class _WatchedBatch(Batch):
    """Each of its requests may be slow, though only the first one is taken in hand."""

    __slots__ = ("_watcher",)

    def __init__(self, requests: Requests, watcher: Watcher) -> None:
        super().__init__(requests)
        self._watcher = watcher

    def done(self, failed: bool) -> None:
        super().done(failed)
        self._watcher.begin(self)


class Watcher:
    """The requests in hand, and the thread that looks at them: made with the first one."""

    def __init__(self, seconds: float, tell: Tell) -> None:
        self._patience = int(seconds * 1e9)
        self._tell = tell
        self._threads: dict[InHand, int] = {}  # that work on them
        self._told: dict[InHand, int] = {}  # and when they had begun: a Batch is many, in turn
        self._thread: threading.Thread | None = None
        self._is_awake = False
        self._wakeup = threading.Event()

    def begin(self, request: InHand) -> None:
        """It is in hand. Called in the thread that works on it."""
        self._threads[request] = threading.get_ident()
        if not self._is_awake:
            self._is_awake = True
            self._wake()

    def end(self, request: InHand) -> None:
        """It is no longer in hand."""
        self._threads.pop(request, None)
        self._told.pop(request, None)

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="slow-request", daemon=True)
            self._thread.start()
        self._wakeup.set()

    def _watch(self) -> None:
        """One that begins after a look, and before the flag is down, wakes nobody: so there is a
        second look.
        """
        signals.block_all()  # they are the main thread's, which may wait for them in a system call
        while True:
            self._is_awake = True
            left = self._look()
            if left is None:
                self._is_awake = False
                left = self._look()
            self._wakeup.wait(left)
            self._wakeup.clear()

    def _look(self) -> float | None:
        """Tell what is late; return the seconds until the next one would be, None if there is
        none.
        """
        now, oldest = monotonic_ns(), sys.maxsize
        for request, thread in self._threads.copy().items():
            begun = request.begun
            if not request.timed or self._told.get(request) == begun:
                continue  # its answer is on its way, which is the client's time; or told
            if now - begun >= self._patience:
                self._tell_of(request, begun, thread)
            else:
                oldest = min(oldest, begun)
        return None if oldest == sys.maxsize else (oldest + self._patience - now) / 1e9

    def _tell_of(self, request: InHand, begun: int, thread: int) -> None:
        frame = sys._current_frames().get(thread)
        stack = "".join(traceback.StackSummary.extract(_work(frame)).format())
        if request in self._threads and request.begun == begun:
            self._told[request] = begun
            self._tell(request, stack.rstrip("\n"))


def _work(frame: FrameType | None) -> Iterator[tuple[FrameType, int]]:
    """The frames of a thread, outermost first, without those that made it a child."""
    frames = itertools.takewhile(
        lambda one: one[0].f_globals.get("__name__") != _LIFE, traceback.walk_stack(frame)
    )
    return reversed(list(frames))
