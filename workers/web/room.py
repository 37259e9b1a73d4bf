"""How many connections a child of threads holds.

One that it holds waits for its threads alone, one that it leaves in the accept queue is served by
whichever child is free first. So a child begins with one connection for each thread, and holds more
when that makes nobody wait for long: its requests have proved short, or its connections say nothing
while others wait.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from time import monotonic_ns
from typing import Any, Final

from supervisor.child.child import Child
from supervisor.workers.web.gateway import Call

_SHORT: Final = 10_000_000  # ns
_IN_A_ROW: Final = 64  # short requests
_SILENCE: Final = 0.2  # s in which a child with a free place would have begun with who waits


class Room:
    """Whether a child should hold more connections than it has threads.

    `can_grow`: connections are kept, so that idle ones hold places.
    """

    def __init__(self, child: Child, *, can_grow: bool) -> None:
        self.takes_all = False
        self._child = child
        self._can_grow = can_grow
        self._short = 0  # in a row
        self._is_short = False
        self._wants_news = False
        self._news = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def watched(
        self, call: Call, stop: Callable[[], object]
    ) -> Callable[[Any, dict[str, Any]], None]:
        """The call, for an engine that does not take all; `stop` ends that engine.

        It is called while a request is in hand: an engine that holds no more connections than that
        has none that it took but did not read yet, and would close unanswered.
        """

        def watch(protocol: Any, scope: dict[str, Any]) -> None:
            begun = monotonic_ns()
            try:
                call(protocol, scope, lambda: self._is_last(begun, stop))
            finally:
                if self._wants_news:
                    os.eventfd_write(self._news, 1)

        return watch

    def _is_last(self, begun: int, stop: Callable[[], object]) -> bool:
        """True when the connection of a request that began then (monotonic ns) should end with its
        answer. Any thread.
        """
        if self._child.stopping:
            return True
        if monotonic_ns() - begun >= _SHORT:
            self._short = 0
            return self._others_wait()
        self._short += 1
        if self._short == _IN_A_ROW and self._can_grow:
            self._is_short = True
            stop()
            os.eventfd_write(self._news, 1)
        return self._is_short

    def wait_for_need(self) -> bool:
        """Wait until there should be more places; False when told to stop. Main thread."""
        while not (self.takes_all or self._child.stopping):
            if self._is_needed():
                self.takes_all = self._can_grow
                return True
        while not self._child.stopping:
            self._child.pause()
        return False

    def _is_needed(self) -> bool:
        """Wait for somebody, and see what becomes of him."""
        child = self._child
        child.pause(None, self._news, *(listener.fileno() for listener in child.listeners))
        self._wait_for_a_free_thread()
        if self._is_short:
            return True
        before = child.requests
        child.pause(_SILENCE, self._news)
        is_silent = child.requests == before and not before.active
        return not child.stopping and is_silent and self._others_wait()

    def _wait_for_a_free_thread(self) -> None:
        """While one is at work, it is not silence that keeps others waiting."""
        self._wants_news = True
        while self._child.requests.active and not (self._child.stopping or self._is_short):
            self._child.pause(None, self._news)
            self._forget()
        self._wants_news = False
        self._forget()

    def _forget(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._news)

    def _others_wait(self) -> bool:
        return any(listener.has_waiting() for listener in self._child.listeners)
