"""`request_timeout` of a child that runs an event loop.

Until the first byte of its answer a request may take so long, without the time in which it waits
for its client; after that, so may each of its steps, from where the loop resumes it to where it
waits again. Two clocks look at that. A timer of the loop finds requests that wait for too long, and
these are cancelled. A loop that is blocked cannot do that: SIGALRM ends the child a second later,
and its tracebacks are in the black box.

The order of events that must not happen: the alarm is set for one request, which ends; another one
begins to compute; the alarm kills the child, though the second request is not late. So each step
looks whether the alarm leaves it all its time, and moves it where not. To move it is a system call:
it is moved further than needed (`slack`), so that few steps have to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from time import monotonic_ns
from typing import Any, Final, Protocol

from supervisor.child.requests import Requests

_GRACE: Final = 1_000_000_000  # ns in which a loop that runs has cancelled what is late

Application = Callable[..., Any]  # of ASGI


class Timed(Protocol):
    """A request with a deadline."""

    due: int  # monotonic ns; while it waits for its client: the ns that it has left

    def be_late(self) -> None:
        """The deadline has passed, and the loop runs."""


class Deadlines:
    """Those of one child. `timeout` in s."""

    def __init__(self, requests: Requests, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        self._requests = requests
        self._loop = loop
        self._timeout = int(timeout * 1e9)
        self._span = self._timeout + _GRACE
        self._slack = max(_GRACE // 4, self._timeout // 8)
        self._timed: set[Timed] = set()
        self._alarm_at = 0  # monotonic ns, 0 = no alarm is set
        self._timer: asyncio.TimerHandle | None = None
        self._look_at = 0

    def begin(self, one: Timed, now: int) -> None:
        """It begins at `now` (monotonic ns)."""
        self.resume(one, now, self._timeout)

    def resume(self, one: Timed, now: int, left: int) -> None:
        """Its own time goes on, of which it has `left` ns."""
        one.due = now + left
        self._timed.add(one)
        self.step(now)
        self._look_by(one.due, now)

    def end(self, one: Timed) -> None:
        """It has no deadline any more."""
        self._timed.discard(one)

    def pause(self, one: Timed, now: int) -> int | None:
        """It waits for its client; return the ns that it has left, None where it has no
        deadline.
        """
        if one not in self._timed:
            return None
        self._timed.discard(one)
        return one.due - now

    def stepped(self, application: Application) -> Application:
        """The same application, each of whose steps may take so long."""
        return lambda *arguments: Stepped(application(*arguments), self)

    def step(self, now: int) -> None:
        """Something begins that may compute for the whole time."""
        if now + self._span > self._alarm_at:
            self._set_alarm(now + self._span + self._slack)
            self._look_by(now + self._span, now)

    def _set_alarm(self, instant: int) -> None:
        self._alarm_at = instant
        self._requests.be_late_at(instant / 1e9 if instant else None)

    def _look_by(self, instant: int, now: int) -> None:
        if self._timer is not None:
            if self._look_at <= instant:
                return
            self._timer.cancel()
        self._look_at = instant
        # The loop counts in ms; a timer that is early would have to be set again.
        self._timer = self._loop.call_later(max(0, instant - now) / 1e9 + 0.001, self._look)

    def _look(self) -> None:
        """Nothing computes now, for this is called."""
        self._timer = None
        now = monotonic_ns()
        for one in [one for one in self._timed if one.due <= now]:
            self._timed.discard(one)
            one.be_late()
        if self._timed:
            first = min(one.due for one in self._timed)
            self._set_alarm(max(first + _GRACE, now + _GRACE) + self._slack)
            self._look_by(first, now)
        else:
            self._set_alarm(0)


class Stepped:
    """Stands between a task and a coroutine, and is no task itself: `current_task` stays right.

    What the coroutine does in tasks of its own has no deadline: only a task factory would see
    those, and it would take from applications what they may know of their tasks.
    """

    __slots__ = ("_deadlines", "awaited")

    def __init__(self, awaited: Coroutine[Any, Any, None], deadlines: Deadlines) -> None:
        self.awaited = awaited
        self._deadlines = deadlines

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        self._deadlines.step(monotonic_ns())
        return self.awaited.send(None)

    def send(self, value: Any) -> Any:
        """As a generator."""
        self._deadlines.step(monotonic_ns())
        return self.awaited.send(value)

    def throw(self, *error: Any) -> Any:
        """As a generator; so a task is cancelled."""
        self._deadlines.step(monotonic_ns())
        return self.awaited.throw(*error)

    def close(self) -> None:
        """As a generator."""
        self.awaited.close()
