"""Type `exec`: any program as a child. It inherits the listeners as systemd would pass them."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from supervisor.child.child import Child
from supervisor.child.place import Place
from supervisor.child.worker import Watch, Worker
from supervisor.config.schema import Options
from supervisor.errors import NameProblem
from supervisor.system import process, signals
from supervisor.system.listeners import Listener
from supervisor.workers.exec.program import FIRST_PASSED, Program, become
from supervisor.workers.exec.readiness import ProgramWatch, new_watch

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
        self._watches: dict[int, ProgramWatch] = {}  # by slot; of the last generation begun

    def preload(self) -> None:
        name, directory = self.options.command[0], self.options.working_directory
        if directory and not os.path.isdir(directory):
            raise NameProblem(f"{directory!r} is not a directory", "working_directory")
        if self._program({}, 0).file() is None:
            raise NameProblem(f"no program {name!r}", "command")
        if self.options.ready == "listen":
            self._check_probe()

    def _check_probe(self) -> None:
        """One connection proves one child: of several it cannot be told which one took it."""
        common, listen = self.section.common, self.section.listen
        if not listen or listen[0].address.scheme == "udp":
            raise NameProblem('"listen" needs a tcp or unix address to connect to', "ready")
        if common.children != 1:
            raise NameProblem('"listen" can watch one child only; "notify" any number', "ready")

    def watch(self, place: Place) -> Watch:
        if place.rank == 0:
            _make_blocking(place.listeners)
        watch = new_watch(self.options.ready, place)
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
        environment = {**os.environ, **told, **self.environment}
        return Program(arguments, environment, self.options.working_directory)

    def _told(self, child: Child) -> dict[str, str]:
        """The variables that tell the program of its sockets (sd_listen_fds(3))."""
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
