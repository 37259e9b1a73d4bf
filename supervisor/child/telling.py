"""A child tells `supervisor stack` what it does now, through a pipe (see stack_pipe.py).

Two signals ask. At the first faulthandler writes the stacks of the threads, from C, even where the
interpreter does not run. At the second this module tells, as soon as it does run, all there is: a
NUL, a JSON text (Doing), a NUL. The latter makes the former superfluous, and may come in the midst
of it, from another thread.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from supervisor.child import stacks
from supervisor.system import process, signals, stack_pipe, tempdirs

if TYPE_CHECKING:
    import asyncio

    # A stack as code and line of each frame, and whether its task runs now.
    Key = tuple[tuple[tuple[CodeType, int], ...], bool]

END: Final = b"\0"
_LARGEST: Final = 65_536  # bytes of JSON
_MOST_THREADS: Final = 100
_MOST_KINDS: Final = 50
_MOST_NAMES: Final = 3
_DEEPEST: Final = 100  # frames


class Thread(Struct, frozen=True):
    """A thread of Python's, and a text for each frame, innermost first."""

    name: str
    frames: tuple[str, ...]


class Tasks(Struct, frozen=True):
    """Tasks of asyncio that are at the same place: how many, the names of the first ones, whether
    it is the one that runs now, and a text for each frame, innermost first.
    """

    count: int
    names: tuple[str, ...]
    is_running: bool
    frames: tuple[str, ...]


class Doing(Struct, frozen=True):
    """Threads, kinds of tasks, the number of tasks that had no room.

    `failure` tells why nothing else is known.
    """

    threads: tuple[Thread, ...] = ()
    tasks: tuple[Tasks, ...] = ()
    left_out: int = 0
    failure: str = ""


def begin(tempdir: Path) -> None:
    """Answer from now on, in this process. Where no pipe can be made nobody can ask."""
    with contextlib.suppress(OSError):
        descriptor = stack_pipe.hold(tempdirs.make_stack_pipe_of(tempdir))
        signals.tell_stacks(descriptor, _Teller(descriptor))


class _Teller:
    """A handler of signals: it runs between any two steps of user code, and must not raise."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_telling = False

    def __call__(self, _signum: int, frame: FrameType | None) -> None:
        if self._is_telling:
            return
        self._is_telling = True
        try:
            self._write(_doing(frame))
        except Exception as error:
            self._write(Doing(failure=repr(error)))
        finally:
            self._is_telling = False

    def _write(self, doing: Doing) -> None:
        with contextlib.suppress(OSError):
            os.write(self._descriptor, END + _encoded(doing) + END)


def _encoded(doing: Doing) -> bytes:
    """JSON that fits: without the last kinds of tasks, if it must be."""
    while len(data := msgspec.json.encode(doing)) > _LARGEST and doing.tasks:
        kept = doing.tasks[: len(doing.tasks) // 2]
        lost = sum(one.count for one in doing.tasks[len(kept) :])
        doing = msgspec.structs.replace(doing, tasks=kept, left_out=doing.left_out + lost)
    return data if len(data) <= _LARGEST else msgspec.json.encode(Doing(failure="too much"))


def _doing(interrupted: FrameType | None) -> Doing:
    kinds = _kinds()
    shown = list(kinds.items())[:_MOST_KINDS]
    left_out = sum(map(len, kinds.values())) - sum(len(same) for _, same in shown)
    tasks = tuple(_told(same, is_running=key[1]) for key, same in shown)
    return Doing(tuple(_threads(interrupted)), tasks, left_out)


def _threads(interrupted: FrameType | None) -> Iterator[Thread]:
    """All threads, the main one, which was `interrupted` for this, first."""
    own = threading.get_ident()
    others = {one: frame for one, frame in sys._current_frames().items() if one != own}
    names = {one.ident: one.name for one in threading.enumerate()}
    for identity, frame in [(own, interrupted), *others.items()][:_MOST_THREADS]:
        yield Thread(names.get(identity, f"0x{identity:x}"), _texts(_below(frame)))


def _below(frame: FrameType | None) -> Iterator[FrameType]:
    """A frame and those that called it, up to where this child began."""
    while frame is not None and frame.f_code is not process.fork_all.__code__:
        yield frame
        frame = frame.f_back


def _texts(frames: Iterable[FrameType]) -> tuple[str, ...]:
    """As faulthandler writes them; no file is read for it, inside a handler of signals."""
    return tuple(
        f'  File "{frame.f_code.co_filename}", line {frame.f_lineno} in {frame.f_code.co_qualname}'
        for frame in itertools.islice(frames, _DEEPEST)
    )


def _kinds() -> dict[Key, list[asyncio.Task[Any]]]:
    """The tasks by where they are: thousands of them often wait at one place."""
    kinds: dict[Key, list[asyncio.Task[Any]]] = {}
    for task in _tasks():
        frames = stacks.frames_of(task.get_coro())
        key = tuple((frame.f_code, frame.f_lineno) for frame in frames), _runs(task)
        kinds.setdefault(key, []).append(task)
    return kinds


def _tasks() -> Iterator[asyncio.Task[Any]]:
    """Those of all loops, in whatever thread: asyncio tells those of one loop that is known.

    Where nothing was imported there are none, and it is not imported for that.
    """
    asyncio = sys.modules.get("asyncio")
    kinds: set[Any] = set(() if asyncio is None else _kinds_below(asyncio.Task))
    # Of an object only the type is looked at: reading an attribute may run code of its class.
    everything: list[Any] = gc.get_objects()
    return (one for one in everything if type(one) in kinds and not one.done())


def _kinds_below(kind: type[Any]) -> Iterator[type[Any]]:
    yield kind
    for one in kind.__subclasses__():
        yield from _kinds_below(one)


def _runs(task: asyncio.Task[Any]) -> bool:
    return sys.modules["asyncio"].current_task(task.get_loop()) is task


def _told(same: list[asyncio.Task[Any]], *, is_running: bool) -> Tasks:
    frames = reversed(stacks.frames_of(same[0].get_coro()))
    names = tuple(one.get_name() for one in same[:_MOST_NAMES])
    return Tasks(len(same), names, is_running, _texts(frames))
