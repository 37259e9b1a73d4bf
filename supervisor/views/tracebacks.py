"""Tracebacks for people: without what says nothing, the application's own frames seen first."""

from __future__ import annotations

import itertools
import re
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import supervisor

_FORK: Final = re.compile(r'/process\.py", line \d+ in fork_all$')
_FRAME: Final = re.compile(r'  File "(?P<path>[^"]*)"')
_THREAD: Final = re.compile(r"(?:Current thread|Thread) 0x")
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


class _Block(NamedTuple):
    """A line that is no frame, "" for none, and the frames below it, each with its lines."""

    heading: str
    frames: list[list[str]]

    @property
    def is_thread(self) -> bool:
        return _THREAD.match(self.heading) is not None

    @property
    def own(self) -> list[list[str]]:
        """The application's frames."""
        return [frame for frame in self.frames if _is_own(frame[0])]


def folded(traceback: str) -> Iterator[str]:
    """The lines of a traceback with the application's own frames first, under each heading, and the
    threads first that have some. Of the other frames only their number is told, and of a thread
    that has no others the innermost one; where none are the application's, all are told.
    """
    blocks = list(_blocks(traceback))
    threads = iter(sorted((one for one in blocks if one.is_thread), key=lambda one: not one.own))
    has_own = any(block.own for block in blocks)
    for block in blocks:
        yield from _told(next(threads) if block.is_thread else block, has_own)


def _blocks(traceback: str) -> Iterator[_Block]:
    block = _Block("", [])
    for line in filter(None, traceback.splitlines()):
        if _FRAME.match(line):
            block.frames.append([line])
        elif block.frames and line.startswith("    "):
            block.frames[-1].append(line)
        else:
            yield block
            block = _Block(line, [])
    yield block


def _told(block: _Block, is_folded: bool) -> Iterator[str]:
    shown = block.frames
    if is_folded:
        shown = block.own or (shown[:1] if block.is_thread else shown)
    yield from filter(None, [block.heading])
    yield from itertools.chain.from_iterable(shown)
    if len(shown) < len(block.frames):
        yield _count(len(block.frames) - len(shown))


def _count(frames: int) -> str:
    return f"  ({frames} frame{'s' if frames > 1 else ''} of libraries)"


def _is_own(line: str) -> bool:
    """True for a frame of the application: not ours, not Python's, not of an installed package."""
    found = _FRAME.match(line)
    path = found["path"] if found else ""
    if path.startswith(("<frozen ", _PACKAGE + "/")) or any(one in path for one in _INSTALLED):
        return False
    return not path.startswith(tuple(f"{one}/" for one in _LIBRARIES))
