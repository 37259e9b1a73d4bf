"""The deadline of a WebSocket, which may last for ever, but not block the event loop for long."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from supervisor.child.child import Child
from supervisor.child.requests import TimedStep


def stepped(running: Awaitable[None], child: Child) -> Awaitable[None]:
    """A coroutine with a deadline from where it goes on to where it waits again, each time.

    What it does in tasks of its own has none: only a task factory would see those, and it would
    take from applications what they may know of their tasks.
    """
    step = child.step()
    return running if step is None else _Steps(running, step)


class _Steps:
    """Stands between a task and a coroutine, and is no task itself: `current_task` stays right."""

    def __init__(self, running: Awaitable[None], step: TimedStep) -> None:
        self._running = running.__await__()
        self._step = step

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        with self._step:
            return next(self._running)

    def throw(self, *error: Any) -> Any:
        """As a generator; so a task is cancelled."""
        with self._step:
            return self._running.throw(*error)

    def close(self) -> None:
        """As a generator."""
        with self._step:
            self._running.close()
