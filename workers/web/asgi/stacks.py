"""Where a coroutine waits: the frames of it and of all that it awaits."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

_NEXT: Final = ("cr_await", "gi_yieldfrom", "ag_await", "awaited")
_FRAME: Final = ("cr_frame", "gi_frame", "ag_frame")


def stack_of(coroutine: Any) -> str:
    """The stack of a coroutine that waits, outermost first, as a traceback prints it."""
    lines = [(frame, frame.f_lineno) for frame in _frames(coroutine)]
    return "".join(traceback.StackSummary.extract(iter(lines)).format())


def _frames(awaited: Any) -> Iterator[FrameType]:
    while awaited is not None:
        frame = _first(awaited, _FRAME)
        if frame is not None:
            yield frame
        awaited = _first(awaited, _NEXT)


def _first(owner: Any, names: tuple[str, ...]) -> Any:
    return next((value for name in names if (value := getattr(owner, name, None))), None)
