"""Type `exec`: any program as a child. It inherits the listeners as systemd would pass them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

from msgspec import Meta, field

from supervisor.child.child import Child, Place
from supervisor.child.worker import Watch, Worker
from supervisor.config.address import SUN_PATH
from supervisor.config.schema import Options
from supervisor.errors import NameProblem, StartError
from supervisor.log.entries import log
from supervisor.system import process, signals
from supervisor.system.listeners import Listener
from supervisor.system.tempdirs import make_tempdir
from supervisor.workers.exec.program import FIRST_PASSED, Program, become

_PROBE_TIMEOUT = 1.0  # s: the kernel itself completes the connection, unless the queue is full
_LARGEST_NOTE = 65_536  # bytes of one notification
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}

StopSignal = Literal["TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "KILL"]


class ExecOptions(Options, frozen=True):
    """Options of type `exec`."""

    command: Annotated[
        tuple[str, ...],
        Meta(
            min_length=1,
            description="program and arguments; {fd} becomes 3, the first listener's descriptor, "
            "{slot} the child's slot",
            examples=[["sh", "-c", "exec sleep 1000"]],
        ),
    ]
    env: Annotated[dict[str, str], Meta(description="added to the environment")] = field(
        default_factory=dict
    )
    working_directory: Annotated[str, Meta(description='"" = that of the server')] = ""
    ready: Annotated[
        Literal["exec", "notify", "listen"],
        Meta(
            description="ready when: exec = it runs, notify = it said READY=1 (sd_notify(3)), "
            "listen = it answered, or hung up on, a connection of the master (one child only)"
        ),
    ] = "exec"
    stop_signal: Annotated[StopSignal, Meta(description="the signal that tells it to stop")] = (
        "TERM"
    )


class Exec(Worker):
    """Runs another program as the child; its descriptors 3, 4, ... are the listeners."""

    Options: ClassVar[type[Options]] = ExecOptions

    needs_fork = True
    exclusive = True

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.stop_signal = signal.Signals[f"SIG{options.stop_signal}"]
        self._watches: dict[int, _Watch] = {}  # by slot; of the last generation begun

    def preload(self) -> None:
        name, directory = self.options.command[0], self.options.working_directory
        if directory and not os.path.isdir(directory):
            raise NameProblem(f"{directory!r} is not a directory", "working_directory")
        if self._program({}, 0).file() is None:
            raise NameProblem(f"no program {name!r}", "command")
        if self.options.ready == "listen":
            self._check_probe()

    def _check_probe(self) -> None:
        """One connection proves one child: it cannot be told who took it."""
        common, listen = self.section.common, self.section.listen
        if not listen or listen[0].address.scheme == "udp":
            raise NameProblem('"listen" needs a tcp or unix address to connect to', "ready")
        if common.children != 1:
            raise NameProblem('"listen" can watch one child only; "notify" any number', "ready")

    def watch(self, place: Place) -> Watch:
        if place.rank == 0:
            _make_blocking(place.listeners)
        watch = _WATCHES[self.options.ready](place)
        self._watches[place.slot] = watch
        return watch

    def run(self, child: Child) -> None:
        sockets = [listener.fileno() for listener in child.listeners]
        watch = self._watches[child.slot]
        program = self._program({**watch.environment(), **self._told(child)}, child.slot)
        before = signals.block_all()
        try:
            child.poll()
            if self.stop_signal != signal.SIGTERM:
                process.lead_own_group()
            process.send_at_masters_death(self.stop_signal, child.place.master)
            become(program, sockets, child.place.black_box, watch.kept())
        finally:
            signals.set_mask(before)

    def _program(self, told: dict[str, str], slot: int) -> Program:
        """The command with its places filled, and its environment."""
        filled = {"{fd}": str(FIRST_PASSED), "{slot}": str(slot)}
        arguments = list(self.options.command)
        for place, value in filled.items():
            arguments = [argument.replace(place, value) for argument in arguments]
        environment = {**os.environ, **told, **self.options.env}
        return Program(arguments, environment, self.options.working_directory)

    def _told(self, child: Child) -> dict[str, str]:
        """What the program learns of its sockets (sd_listen_fds(3))."""
        count = len(child.listeners)
        if not count:
            return {}
        name = self.section.name.replace(":", "_")
        return {
            "LISTEN_PID": str(os.getpid()),
            "LISTEN_FDS": str(count),
            "LISTEN_FDNAMES": ":".join([name] * count),
        }


def _make_blocking(listeners: Sequence[Listener]) -> None:
    """As systemd passes them. The flag is common to all children: before the first one runs."""
    for listener in listeners:
        listener.socket.setblocking(True)


class _Watch(Watch):
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
        """What the child keeps open until the exec."""
        return ()

    def environment(self) -> Mapping[str, str]:
        """What the program has to know."""
        return {}


class ExecWatch(_Watch):
    """A pipe whose write end the exec closes."""

    def __init__(self, _place: Place) -> None:
        reader, self._writer = os.pipe()
        super().__init__(reader)

    def seal(self) -> None:
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1

    def becomes_ready(self, pid: int) -> bool:
        if self._descriptor < 0 or not _is_readable(self._descriptor):
            return False
        self.close()
        # A death closes the pipe too, before it can be reaped.
        return process.has_executed(pid)

    def close(self) -> None:
        self.seal()
        super().close()

    def kept(self) -> Sequence[int]:
        return (self._writer,)


class NotifyWatch(_Watch):
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


class ProbeWatch(_Watch):
    """A connection of our own: a program that takes it sees its end, and answers or hangs up."""

    def __init__(self, place: Place) -> None:
        self._socket = _connect(place.listeners[0])
        self._socket.shutdown(socket.SHUT_WR)
        self._socket.setblocking(False)
        super().__init__(self._socket.fileno())

    def becomes_ready(self, pid: int) -> bool:
        if self._descriptor < 0 or not _is_readable(self._descriptor):
            return False
        self.close()
        return True

    def close(self) -> None:
        self._socket.close()
        self._descriptor = -1


_WATCHES: Final[Mapping[str, Callable[[Place], _Watch]]] = {
    "exec": ExecWatch,
    "notify": NotifyWatch,
    "listen": ProbeWatch,
}


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


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
