"""How the master learns that another program, which cannot tell itself, is ready to serve."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from supervisor.child.place import Place
from supervisor.child.worker import Watch
from supervisor.config.address import SUN_PATH
from supervisor.errors import StartError
from supervisor.log.entries import log
from supervisor.system import process
from supervisor.system.descriptors import is_readable
from supervisor.system.listeners import Listener
from supervisor.system.tempdirs import make_tempdir

_PROBE_TIMEOUT = 1.0  # s: the kernel itself completes the connection, unless the queue is full
_LARGEST_NOTE = 65_536  # bytes of one notification
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class ProgramWatch(Watch):
    """A watch on one descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def seal(self) -> None:
        """Nothing here is the child's own."""

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def kept(self) -> Sequence[int]:
        """The descriptors that the child keeps open until the exec."""
        return ()

    def environment(self) -> Mapping[str, str]:
        """The variables that the program needs."""
        return {}


class ExecWatch(ProgramWatch):
    """A pipe whose write end the exec closes."""

    def __init__(self, _place: Place) -> None:
        reader, self._writer = os.pipe()
        super().__init__(reader)

    def seal(self) -> None:
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1

    def becomes_ready(self, pid: int) -> bool:
        if self._descriptor < 0 or not is_readable(self._descriptor):
            return False
        self.close()
        # A death closes the pipe too, before it can be reaped.
        return process.has_executed(pid)

    def close(self) -> None:
        self.seal()
        super().close()

    def kept(self) -> Sequence[int]:
        return (self._writer,)


class NotifyWatch(ProgramWatch):
    """A datagram socket of this child alone, in its temporary directory. It is read for the whole
    life: nobody must block on telling a status.
    """

    def __init__(self, place: Place) -> None:
        self._path = place.tempdir / "notify"
        if len(os.fsencode(self._path)) > SUN_PATH:
            raise StartError(f"{self._path}: too long for a socket; choose another directory")
        make_tempdir(place.tempdir)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(os.fspath(self._path))
        super().__init__(self._socket.fileno())
        self._subject = {"worker": place.section, "slot": place.slot}
        self._is_ready = False

    def becomes_ready(self, pid: int) -> bool:
        lines = [line for note in self._notes() for line in note.splitlines()]
        for line in lines:
            if line.startswith("STATUS="):
                log.info("child says", **self._subject, status=line[7:])
        was_ready, self._is_ready = self._is_ready, self._is_ready or "READY=1" in lines
        return self._is_ready and not was_ready

    def _notes(self) -> Iterator[str]:
        with contextlib.suppress(BlockingIOError):
            while True:
                # A plain receive drops passed descriptors: that is the answer to BARRIER=1.
                yield self._socket.recv(_LARGEST_NOTE).decode("utf-8", "replace")

    def close(self) -> None:
        self._socket.close()

    def environment(self) -> Mapping[str, str]:
        return {"NOTIFY_SOCKET": str(self._path)}


class ProbeWatch(ProgramWatch):
    """A connection of our own: a program that takes it sees its end, and answers or hangs up."""

    def __init__(self, place: Place) -> None:
        self._socket = _connect(place.listeners[0])
        self._socket.shutdown(socket.SHUT_WR)
        self._socket.setblocking(False)
        super().__init__(self._socket.fileno())

    def becomes_ready(self, pid: int) -> bool:
        if self._descriptor < 0 or not is_readable(self._descriptor):
            return False
        self.close()
        return True

    def close(self) -> None:
        self._socket.close()
        self._descriptor = -1


_KINDS: Final[Mapping[str, Callable[[Place], ProgramWatch]]] = {
    "exec": ExecWatch,
    "notify": NotifyWatch,
    "listen": ProbeWatch,
}


def new_watch(kind: str, place: Place) -> ProgramWatch:
    """The watch of `ready` = `kind`, on one child. Raises StartError."""
    return _KINDS[kind](place)


def _connect(listener: Listener) -> socket.socket:
    """A connection to a listener of ours. Raises StartError when its queue is full."""
    address = listener.address
    if address.scheme == "unix":
        target: Any = address.path
    else:
        target = (_EVERYWHERE.get(address.host, address.host), address.port)
    probe = socket.socket(listener.socket.family, socket.SOCK_STREAM)
    probe.settimeout(_PROBE_TIMEOUT)
    try:
        probe.connect(target)
    except OSError as error:
        probe.close()
        raise StartError(f"{address}: cannot connect to see who accepts: {error}") from None
    return probe
