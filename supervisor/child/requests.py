"""The requests that a child has in hand: what its row says of them, and their deadlines.

On the path of every request, so plain: stores into the row, two readings of the clock, no system
call without a deadline.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from time import monotonic_ns
from typing import Any, Final, Protocol

from supervisor.errors import Stop
from supervisor.scoreboard.layout import (
    ACTIVE,
    BUCKETS,
    BUSY,
    BUSY_SINCE,
    CODE_CLASSES,
    CONNECTIONS,
    ERRORS,
    HISTOGRAM,
    LATENCY_MAX,
    LATENCY_SUM,
    REQUESTS,
    RESPONSES,
    STATE,
    STREAMS,
    UNIT,
    State,
    bucket_bounds,
    bucket_of,
)
from supervisor.scoreboard.row import Names
from supervisor.system import signals

# The bucket of a latency by its units: of most, up to 1 ms. Made bucket by bucket, for each start
# would pay for thousands of calls.
_SHORT: Final = b"".join(
    bytes((bucket,)) * ((above - lowest) >> UNIT)
    for bucket in range(bucket_of(1 << 20))
    for lowest, above in [bucket_bounds(bucket)]
)
_IDLE: Final = int(State.IDLE)
_BUSY: Final = int(State.BUSY)


class InHand(Protocol):
    """A request: `begun` (monotonic ns), and whether it has a deadline."""

    begun: int
    timed: bool

    @property
    def facts(self) -> dict[str, object]:
        """The facts that name it in the log."""


class Requests:
    """One of each child. `row` is its row of the scoreboard, `timeout` the request deadline in
    s, 0 = none. `names` are the requests in hand that the row names.
    """

    def __init__(self, row: memoryview, timeout: float) -> None:
        self.active = 0
        self.names = Names(row)
        self.lock: threading.RLock | None = None
        self._look_at = float("inf")  # requests
        self._look: Callable[[int], float] | None = None
        self._row = row
        # What the row says, again: to read a word back costs as much as to write it, and another
        # child that went wild may have written there.
        self._ended = self._busy = self._busy_since = self._spent = self._longest = 0
        self._errors = 0
        self._histogram = [0] * BUCKETS
        self._responses = [0] * (CODE_CLASSES + 1)
        self._timeout = timeout
        self._stop_by: float | None = None  # monotonic s
        self._late_at: float | None = None  # monotonic s
        self._stopping = 0  # the word STATE, from the order to stop on
        self._timed: dict[InHand | TimedStep, None] = {}  # with a deadline, oldest first

    @property
    def has_deadline(self) -> bool:
        """True where a request may take too long."""
        return self._timeout > 0

    def look_at(self, ended: float, look: Callable[[int], float]) -> None:
        """After so many requests call `look` with their number; it returns when to call it next."""
        self._look_at, self._look = ended, look

    def serve_from_threads(self, count: int) -> None:
        """Let requests begin and end in so many other threads than the main one."""
        # A single thread is the only one that writes the row, but not the only one that sets the
        # timer: the main thread does so too.
        if count > 1 or self._timeout:
            self.lock = threading.RLock()
            self.enter = self._begin_locked  # type: ignore[assignment]
            self.leave = self._end_locked  # type: ignore[method-assign]

    def batch(self) -> Batch:
        """A context of requests that follow each other at once."""
        return Batch(self)

    def stop_by(self, instant: float) -> None:
        """The child was told to stop: from now on it is `stopping`, at `instant` (monotonic s)
        late.
        """
        with self.lock or nullcontext():
            self._stop_by = instant
            self._row[STATE] = self._stopping = monotonic_ns() & ~7 | State.STOPPING
            self.arm()

    def be_late_at(self, instant: float | None) -> None:
        """Die at `instant` (monotonic s), with all tracebacks; None: do not. For a worker that
        looks after the deadlines of its requests itself, and needs this where its loop is blocked.
        """
        self._late_at = instant
        self.arm()

    def begin(self, request: InHand, now: int, name: bytes = b"", request_id: bytes = b"") -> int:
        """Take it in hand at `now` (monotonic ns), and name it; returns its place among the names
        for `leave`, -1 for none.
        """
        row = self._row
        row[ACTIVE] = self.active = active = self.active + 1
        if active == 1:
            row[BUSY_SINCE] = self._busy_since = now
            row[STATE] = self._stopping or now & ~7 | _BUSY
        if self._timeout and request.timed:
            self.time(request)
        return self.names.add(now, name, request_id) if name else -1

    def time(self, timed: InHand | TimedStep) -> None:
        """Give it the deadline, counted from when it began, which is now."""
        self._timed[timed] = None
        if len(self._timed) == 1:
            signals.set_timer(self._timeout)
            if self._stop_by is not None:
                self.arm()

    def end_time(self, timed: InHand | TimedStep) -> None:
        """It has ended in time."""
        del self._timed[timed]
        self.arm()

    def account(self, elapsed: int | None, failed: bool, status: int = 0) -> None:
        """Count one that took `elapsed` ns, None where the duration says nothing (a WebSocket), and
        was answered with `status`, 0 where it was not, or has none.
        """
        row = self._row
        row[REQUESTS] = self._ended = ended = self._ended + 1
        if ended >= self._look_at and self._look is not None:
            self._look_at = self._look(ended)
        if failed:
            row[ERRORS] = self._errors = self._errors + 1
        if elapsed is not None:
            row[LATENCY_SUM] = self._spent = self._spent + elapsed
            histogram, units = self._histogram, elapsed >> UNIT
            bucket = _SHORT[units] if units < len(_SHORT) else bucket_of(elapsed)
            histogram[bucket] = row[HISTOGRAM + bucket] = histogram[bucket] + 1
            if elapsed > self._longest:
                row[LATENCY_MAX] = self._longest = elapsed
        if status:
            kind = status // 100
            self._responses[kind] = row[RESPONSES - 1 + kind] = self._responses[kind] + 1

    def arm(self) -> None:
        """Set the timer to the nearest deadline: of the oldest request, or of the stop."""
        while True:
            stop_by = self._stop_by
            signals.set_timer(self._left(stop_by))
            if self._stop_by is stop_by:
                return  # else the order to stop came in between, and its deadline was overwritten

    def _left(self, stop_by: float | None) -> float:
        """Seconds to the nearest deadline, 0 = there is none."""
        deadlines = [one for one in (stop_by, self._late_at) if one is not None]
        if self._timed:
            deadlines.append(next(iter(self._timed)).begun / 1e9 + self._timeout)
        return max(1e-6, min(deadlines) - monotonic_ns() / 1e9) if deadlines else 0.0

    def hold(self, connections: int, streams: int = 0) -> None:
        """Note how many connections are open, and how many requests in hand have an answer that
        goes on for long.
        """
        self._row[CONNECTIONS] = connections
        self._row[STREAMS] = streams

    # In any thread: `enter` is `begin`, and `leave` is `_end`, or both are the same under the lock.

    def _end(
        self,
        request: InHand,
        now: int,
        elapsed: int | None,
        failed: bool,
        place: int = -1,
        status: int = 0,
        counts: bool = True,
    ) -> None:
        """It is no longer in hand, and counts, as `account` says."""
        row = self._row
        row[ACTIVE] = self.active = active = self.active - 1
        if not active:
            row[BUSY] = self._busy = self._busy + now - self._busy_since
            row[STATE] = self._stopping or now & ~7 | _IDLE
        if self._timeout and request.timed:
            self.end_time(request)
        if place >= 0:
            row[place] = 0
            self.names.free.append(place)
        if counts:
            self.account(elapsed, failed, status)

    # Not of each object: in the master it would be a cycle, which holds the scoreboard for ever.
    enter = begin
    leave = _end

    def _begin_locked(self, *facts: Any) -> int:
        with self.lock or nullcontext():
            return self.begin(*facts)

    def _end_locked(self, *facts: Any, **more: Any) -> None:
        with self.lock or nullcontext():
            self._end(*facts, **more)

    def time_step(self, request: InHand | TimedStep) -> None:
        """It goes on after a wait, and has the deadline again. `begun` is now."""
        with self.lock or nullcontext():
            self.time(request)

    def end_step(self, request: InHand | TimedStep) -> None:
        """It waits, which is not its own time."""
        with self.lock or nullcontext():
            self.end_time(request)


class Request:
    """One request in hand, as a context. An exception that leaves it counts as an error of it."""

    __slots__ = ("_failed", "_name", "_place", "_requests", "begun", "timed")

    def __init__(self, requests: Requests, name: str = "", timed: bool = True) -> None:
        self._requests = requests
        self._name = name
        self._place = -1
        self._failed = False
        self.timed = timed
        self.begun = 0  # monotonic ns

    @property
    def facts(self) -> dict[str, object]:
        """The facts that name it in the log."""
        return {"request": self._name} if self._name else {}

    def fail(self) -> None:
        """Count it as an error, though no exception leaves it."""
        self._failed = True

    def __enter__(self) -> Request:
        self.begun = now = monotonic_ns()
        name = self._name.encode("utf-8", "replace") if self._name else b""
        self._place = self._requests.enter(self, now, name)
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _trace: object) -> None:
        now = monotonic_ns()
        failed = self._failed or (kind is not None and not issubclass(kind, Stop))
        elapsed = now - self.begun if self.timed else None
        self._requests.leave(self, now, elapsed, failed, self._place)


class Batch:
    """Requests one after another, as a context: the child is busy from the first to the last."""

    __slots__ = ("_requests", "begun", "timed")

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self.timed = True
        self.begun = 0  # monotonic ns, of the one in hand

    def __enter__(self) -> Batch:
        self.begun = now = monotonic_ns()
        self._requests.begin(self, now)
        return self

    @property
    def facts(self) -> dict[str, object]:
        """Nothing: the requests of a batch have no names."""
        return {}

    def done(self, failed: bool) -> None:
        """The one in hand is answered, or has failed; what follows is the next."""
        requests, begun = self._requests, self.begun
        self.begun = now = monotonic_ns()
        requests.account(now - begun, failed)
        if requests.has_deadline:
            requests.arm()

    def __exit__(self, *_: object) -> None:
        self._requests.leave(self, monotonic_ns(), None, False, counts=False)


class TimedStep:
    """A context for code between two waits of a request without a deadline of its own: the code has
    one. In any thread.
    """

    __slots__ = ("_requests", "begun")

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self.begun = 0  # monotonic ns

    def __enter__(self) -> None:
        self.begun = monotonic_ns()
        self._requests.time_step(self)

    def __exit__(self, *_: object) -> None:
        self._requests.end_step(self)
