"""Tracebacks for people: without what says nothing, the application's own frames seen first."""

from __future__ import annotations

import itertools
import re
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import supervisor

_FORK: Final = re.compile(r'/process\.py", line \d+ in fork_all$')
_FRAME: Final = re.compile(r'  File "(?P<path>[^"]*)"')
_PACKAGE: Final = str(Path(supervisor.__file__).parent)
_LIBRARIES: Final = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))
_INSTALLED: Final = ("/site-packages/", "/dist-packages/")


def own_part(text: str) -> str:
    """A traceback without the frames of the master that forked the child: they say nothing."""
    kept, skips = [], False
    for line in text.splitlines():
        if not line.startswith("  File"):
            skips = False
        elif _FORK.search(line):
            skips = True
        if not skips:
            kept.append(line)
    return "\n".join(kept).strip("\n")


def shortened(frames: Iterable[str]) -> Iterator[str]:
    """Of frames, innermost first, the innermost one and the application's own; of the others
    between them only their number.
    """
    numbered = enumerate(frames)
    for is_shown, group in itertools.groupby(numbered, lambda one: not one[0] or _is_own(one[1])):
        if is_shown:
            yield from (frame for _, frame in group)
        else:
            yield _count(len(list(group)))


def folded(traceback: str) -> Iterator[str]:
    """The lines of a traceback with the application's own frames first, under each heading; of the
    others only their number is told, if there are own ones.
    """
    frames: list[list[str]] = []
    for line in filter(None, traceback.splitlines()):
        if _FRAME.match(line):
            frames.append([line])
        elif frames and line.startswith("    "):
            frames[-1].append(line)
        else:
            yield from _own_first(frames)
            frames = []
            yield line
    yield from _own_first(frames)


def _own_first(frames: list[list[str]]) -> Iterator[str]:
    own = [frame for frame in frames if _is_own(frame[0])]
    yield from itertools.chain.from_iterable(own or frames)
    if own and len(own) < len(frames):
        yield _count(len(frames) - len(own))


def _count(frames: int) -> str:
    return f"  ({frames} frame{'s' if frames > 1 else ''} of libraries)"


def _is_own(line: str) -> bool:
    """True for a frame of the application: not ours, not Python's, not of an installed package."""
    found = _FRAME.match(line)
    path = found["path"] if found else ""
    if path.startswith(("<frozen ", _PACKAGE + "/")) or any(one in path for one in _INSTALLED):
        return False
    return not path.startswith(tuple(f"{one}/" for one in _LIBRARIES))
