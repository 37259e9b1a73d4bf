"""The answer of a child, for people: which child, its requests in hand, its threads, its tasks."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from supervisor.child.telling import Doing, Tasks, Thread
from supervisor.scoreboard.reader import Slot
from supervisor.scoreboard.view import elapsed, printable
from supervisor.views.asking import Answer
from supervisor.views.tracebacks import own_part, shortened

_HEADING: Final = re.compile(r"(?:Current thread|Thread) 0x(?P<identity>[0-9a-f]+)")

Frames = Callable[[Iterable[str]], Iterable[str]]


def told(answer: Answer, *, is_whole: bool) -> str:
    """Some lines for one child, innermost frames first; all of them if `is_whole`, else those of
    libraries are only counted, but for the innermost one.
    """
    frames: Frames = tuple if is_whole else shortened
    doing = answer.doing or Doing(tuple(threads_of(answer.threads)))
    lines = [_head(answer.slot), *_requests(answer.slot)]
    lines += _of_threads(doing, frames)
    lines += _of_tasks(doing, frames)
    lines += [f"  {one}" for one in (answer.obstacle, doing.failure) if one]
    return "\n".join(map(printable, lines))


def _head(slot: Slot) -> str:
    """`0 web pid 4711 idle 12 s`."""
    row = slot.row
    if not row.lives:
        return f"{slot.number} {slot.worker} {row.state.name.lower()}"
    since = elapsed(row.state_since, time.monotonic_ns())
    return f"{slot.number} {slot.worker} pid {row.pid} {row.state.name.lower()} {_seconds(since)}"


def _seconds(duration: float) -> str:
    return f"{duration:.0f} s" if duration >= 10 else f"{duration:.1f} s"


def _requests(slot: Slot) -> Iterator[str]:
    now = time.monotonic_ns()
    yield from (f"  in hand: {request.told(now)}" for request in slot.row.in_hand())


def _of_threads(doing: Doing, shown: Frames) -> Iterator[str]:
    for thread in doing.threads:
        yield f"  thread {thread.name}:"
        yield from (f"  {frame}" for frame in shown(thread.frames))


def threads_of(text: str) -> list[Thread]:
    """The threads in a text of faulthandler, named by their identity."""
    threads: list[tuple[str, list[str]]] = []
    for line in filter(None, own_part(text).splitlines()):
        if heading := _HEADING.match(line):
            threads.append((f"0x{int(heading['identity'], 16):x}", []))
        elif threads:
            threads[-1][1].append(line)
    return [Thread(name, tuple(frames)) for name, frames in threads]


def _of_tasks(doing: Doing, shown: Frames) -> Iterator[str]:
    for kind in doing.tasks:
        yield f"  {_which(kind)}:"
        yield from (f"  {frame}" for frame in shown(kind.frames))
    if doing.left_out:
        yield f"  {doing.left_out} more tasks"


def _which(kind: Tasks) -> str:
    """`task Task-7 waits`, `412 tasks wait: Task-7, Task-8, Task-9, ...`."""
    names = ", ".join(kind.names)
    if kind.count == 1:
        return f"task {names} {'runs' if kind.is_running else 'waits'}"
    return f"{kind.count} tasks wait: {names}{', ...' if kind.count > len(kind.names) else ''}"
