"""Where a coroutine waits: the frames of it and of all that it awaits."""

from __future__ import annotations

import gc
import itertools
import traceback
from collections.abc import AsyncGenerator, Coroutine, Generator, Iterator
from types import FrameType
from typing import Any, Final

_NEXT: Final = ("cr_await", "gi_yieldfrom", "ag_await", "awaited")
_FRAME: Final = ("cr_frame", "gi_frame", "ag_frame")
# What stands for another awaitable and has no attribute that leads to it.
_WRAPPERS: Final = (
    "async_generator_asend",
    "async_generator_athrow",
    "anext_awaitable",
    "coroutine_wrapper",
)
_DEEPEST: Final = 1000  # frames; an awaitable of user code may lead to itself


def stack_of(coroutine: Any) -> str:
    """The stack of a coroutine that waits, outermost first, as a traceback prints it."""
    lines = ((frame, frame.f_lineno) for frame in frames_of(coroutine))
    return "".join(traceback.StackSummary.extract(lines).format())


def frames_of(coroutine: Any) -> list[FrameType]:
    """The frames of a coroutine and of what it awaits, outermost first."""
    return list(itertools.islice(_frames(coroutine), _DEEPEST))


def _frames(awaited: Any) -> Iterator[FrameType]:
    while awaited is not None:
        frame = _first(awaited, _FRAME)
        if frame is not None:
            yield frame
        awaited = _first(awaited, _NEXT) or _wrapped(awaited)


def _wrapped(awaited: Any) -> Any:
    if type(awaited).__name__ not in _WRAPPERS:
        return None
    kinds = (Coroutine, Generator, AsyncGenerator)
    return next((one for one in gc.get_referents(awaited) if isinstance(one, kinds)), None)


def _first(owner: Any, names: tuple[str, ...]) -> Any:
    return next((value for name in names if (value := getattr(owner, name, None))), None)
