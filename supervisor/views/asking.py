"""The children of a running server asked what they do now, by signal; the master takes no part.

A signal that a process does not catch would kill it. So one is sent only to a process that the
kernel says is a child of the master and catches this signal: another program, or a child that is
not begun yet, is left alone, whatever a scoreboard says that a child may have scribbled over.
"""

from __future__ import annotations

import errno
import select
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Final, NamedTuple

import msgspec

from supervisor.child.telling import END, Doing
from supervisor.errors import NoPermission
from supervisor.scoreboard.reader import Slot
from supervisor.system import observe, process, signals
from supervisor.system.lookup import Found
from supervisor.system.pidfd import PidFd
from supervisor.system.signals import milliseconds
from supervisor.system.stack_pipe import StackPipe
from supervisor.system.tempdirs import stack_pipe_at

_AT_ONCE: Final = 32  # children: their pipes and descriptors are held open together
_FOREIGN: Final = "no Python stack to tell: another program, or a child that has only begun"


class Answer(NamedTuple):
    """The answer of one child. `doing` is None where the interpreter did not answer: there are
    `threads` then, as faulthandler writes them. `obstacle` says why there is nothing, or not all.
    """

    slot: Slot
    threads: str = ""
    doing: Doing | None = None
    obstacle: str = ""


class Server(NamedTuple):
    """Where it runs, and as which process: the kernel's word, not the scoreboard's."""

    found: Found
    master: int
    generation: int


def ask(server: Server, slots: Sequence[Slot], timeout: float) -> Iterator[Answer]:
    """The answers, in the order of the slots. Each child has `timeout` seconds. Raises
    NoPermission.
    """
    for first in range(0, len(slots), _AT_ONCE):
        with ExitStack() as stack:
            asked = [_Asked(server, slot) for slot in slots[first : first + _AT_ONCE]]
            for one in asked:
                one.begin(stack)
            _hear(asked, time.monotonic() + timeout)
            yield from [one.answer(timeout) for one in asked]


def _hear(asked: Sequence[_Asked], by: float) -> None:
    """Read until all have answered, or it is `by` (monotonic s)."""
    while waiting := [one.pipe for one in asked if one.pipe is not None and not one.is_complete]:
        poll = select.poll()
        for pipe in waiting:
            poll.register(pipe, select.POLLIN)
        ready = dict(poll.poll(milliseconds(by - time.monotonic())))
        if not ready:
            return
        for pipe in waiting:
            if pipe.fileno() in ready:
                pipe.read()


class _Asked:
    """One child, and its answer so far."""

    def __init__(self, server: Server, slot: Slot) -> None:
        self._server = server
        self._slot = slot
        self._obstacle = ""
        self.pipe: StackPipe | None = None

    def begin(self, stack: ExitStack) -> None:
        """Ask it, if it can answer."""
        pid = self._slot.row.pid
        if not self._slot.row.lives or not pid:
            self._obstacle = "does not live"
            return
        # Held first, looked at then: a process that comes to have its pid is not signalled.
        child = stack.enter_context(PidFd(pid))
        self._obstacle = self._why_not(pid)
        if not self._obstacle:
            self._obstacle = self._open(stack)
        if not self._obstacle:
            child.send(signals.STACK)
            child.send(signals.TASKS)

    def _why_not(self, pid: int) -> str:
        master = self._server.master
        if pid != master and process.parent_of(pid) != master:
            return "is no child of the master any more"
        if observe.is_frozen(pid):
            return "is stopped, by a signal or a debugger"
        both = (signals.STACK, signals.TASKS)
        return "" if all(observe.catches(pid, one) for one in both) else _FOREIGN

    def _open(self, stack: ExitStack) -> str:
        try:
            server = self._server
            where = stack_pipe_at(server.found.path, server.generation, self._slot.number)
            with where as (folder, name):
                self.pipe = stack.enter_context(StackPipe(name, folder))
        except PermissionError:
            raise NoPermission(
                "only the server's own user, or root, may ask its children"
            ) from None
        except OSError as error:
            is_missing = error.errno in (errno.ENXIO, errno.ENOENT)
            return _FOREIGN if is_missing else f"cannot be asked: {error.strerror}"
        return ""

    @property
    def is_complete(self) -> bool:
        """True once there is no more to wait for."""
        pipe = self.pipe
        return pipe is None or pipe.has_ended or parted(pipe.text)[1] is not None

    def answer(self, timeout: float) -> Answer:
        """All that it has told."""
        if self.pipe is None:
            return Answer(self._slot, obstacle=self._obstacle)
        threads, told = parted(self.pipe.text)
        doing = None if told is None else _decoded(told)
        text = threads.decode("utf-8", "replace")
        return Answer(self._slot, text, doing, "" if doing else self._silence(timeout))

    def _silence(self, timeout: float) -> str:
        if self.pipe is not None and self.pipe.has_ended:
            return "has ended meanwhile"
        return f"no answer within {timeout:g} s: the interpreter, and its event loop, is blocked"


def parted(text: bytes | bytearray) -> tuple[bytes, bytes | None]:
    """An answer so far as (threads, JSON); the latter is None where it is not all there."""
    parts = bytes(text).split(END)
    whole = parts[1:-1:2]
    return b"".join(parts[::2]), whole[-1] if whole else None


def _decoded(told: bytes) -> Doing | None:
    try:
        return msgspec.json.decode(told, type=Doing)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
