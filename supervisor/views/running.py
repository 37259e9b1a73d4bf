"""A running server, seen from outside: found, read, stopped. Its scoreboard is opened read-only."""

from __future__ import annotations

import signal
from typing import Annotated, Any, TypedDict

import msgspec
from msgspec import Meta

from supervisor.config.schema import Config
from supervisor.errors import NotRunning, ScoreboardError
from supervisor.scoreboard import layout, reader
from supervisor.scoreboard.reader import Snapshot
from supervisor.system.process import PidFd
from supervisor.system.runtime import RuntimeDirectory, find_running


class Section(TypedDict):
    """A worker section, as the description of the words names it."""

    name: str
    type: str
    children: Annotated[int, Meta(ge=1)]
    backlog: int
    listen: list[str]


class Description(TypedDict):
    """What the words of a scoreboard mean. `counters`: the word of a row, by full name."""

    name: str
    workers: list[Section]
    counters: dict[str, Annotated[int, Meta(ge=0, lt=layout.STRIDE)]]
    locks: list[str]


class LastCrash(TypedDict):
    """The `last_crash` of the statistics. `at` in seconds since 1970."""

    at: Annotated[float, Meta(ge=0, le=2**37)]
    generation: int
    slot: int
    worker: str
    pid: int
    cause: str
    state: str
    lock: str | None
    traceback: str


class Reader:
    """Looks anew each time: the server may have gone, and another may have come."""

    def __init__(self, config: Config) -> None:
        self.name = config.name
        self._runtime_directory = config.master.runtime_directory

    def find(self) -> tuple[RuntimeDirectory, int]:
        """The runtime directory and the master's pid. Raises NotRunning."""
        found = find_running(self.name, self._runtime_directory)
        if found is None:
            raise NotRunning(f"{self.name} is not running")
        return found

    def snapshot(self) -> Snapshot:
        """A copy of the scoreboard. Raises NotRunning and ScoreboardError."""
        directory, _ = self.find()
        try:
            return checked(reader.read(directory.scoreboard))
        except FileNotFoundError:
            self.find()
            raise ScoreboardError(
                f"{self.name} has no statistics at this moment: it starts or ends; try again"
            ) from None

    def stop(self, timeout: float) -> tuple[int, bool]:
        """Send SIGTERM and wait `timeout` seconds; the master's pid, and True if it is gone.

        Raises NotRunning and NoPermission.
        """
        directory, pid = self.find()
        with PidFd(pid) as process:
            # The pid may have been reused between the look and the grip: look again, then it is
            # certain.
            if directory.owner() != pid:
                return pid, True
            process.send(signal.SIGTERM)
            return pid, process.wait(timeout)


def checked(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot that makes sense, so that nobody need doubt its parts; a last crash that
    makes none is left out. Raises ScoreboardError.
    """
    try:
        described: Description = msgspec.convert(snapshot.description, Description)
        layout.ServerState(snapshot.words[layout.H_STATE])
        if sum(section["children"] for section in described["workers"]) != snapshot.slots:
            raise ValueError("its slots are not those of its sections")
    except (msgspec.ValidationError, ValueError) as error:
        raise ScoreboardError(f"scoreboard damaged: {error}") from None
    if not _is_valid(snapshot.crash, LastCrash):
        snapshot.crash = None
    return snapshot


def _is_valid(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True
