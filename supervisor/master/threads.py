"""Threads that live in the master when it forks: a child has none of them, and what they held in
that instant (a lock, half a message) stays so in it for ever.
"""

from __future__ import annotations

import sys
import threading
from types import FrameType
from typing import Final

from supervisor.log.entries import log

_ADVICE: Final = "children do not have it: start it in a module's child_init or the worker's init"


def warn_of_threads() -> None:
    """Name each one, and the module whose code it runs: most often one that a library starts when
    it is imported.
    """
    frames = sys._current_frames()
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            module = _module_of(frames.get(thread.ident or 0))
            log.warning("thread ends at the fork", thread=thread.name, module=module, hint=_ADVICE)


def _module_of(frame: FrameType | None) -> str:
    """The outermost code that is not of `threading` itself."""
    found = threading.__name__
    while frame is not None:
        name = frame.f_globals.get("__name__", found)
        found = name if name != threading.__name__ else found
        frame = frame.f_back
    return found
