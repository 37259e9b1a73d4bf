"""A running server, seen from outside: found, read, stopped. Its scoreboard is opened read-only."""

from __future__ import annotations

import signal

from supervisor.config.schema import Config
from supervisor.errors import NoPermission, ScoreboardError
from supervisor.scoreboard import reader
from supervisor.scoreboard.reader import Snapshot
from supervisor.system import record_lock
from supervisor.system.lookup import Found, find_running
from supervisor.system.pidfd import PidFd
from supervisor.views import statistics
from supervisor.views.records import Status


class Reader:
    """Looks anew each time: the server may have gone, and another may have come."""

    def __init__(self, config: Config) -> None:
        self.name = config.name
        self._options = config.master

    def find(self) -> tuple[Found, int]:
        """Where it runs, and the master's pid. Raises NotRunning."""
        return find_running(self.name, self._options)

    def snapshot(self) -> Snapshot:
        """A copy of the scoreboard. Raises NotRunning and ScoreboardError."""
        directory, _ = self.find()
        try:
            return reader.read(directory.scoreboard)
        except FileNotFoundError:
            self.find()
            raise ScoreboardError(
                f"{self.name} has no statistics at this moment: it starts or ends; try again"
            ) from None

    def status(self) -> Status:
        """Whether it is ready, as far as it says; also while it starts. Raises NotRunning."""
        _, pid = self.find()
        try:
            return statistics.status(self.snapshot())
        except ScoreboardError:
            return Status(running=True, pid=pid, reason="starting")

    def stop(self, timeout: float) -> tuple[int, bool]:
        """Send SIGTERM and wait `timeout` seconds; the master's pid, and True if it is gone.

        Raises NotRunning and NoPermission.
        """
        directory, pid = self.find()
        if pid == record_lock.ELSEWHERE:
            raise NoPermission(f"{self.name} runs in another pid namespace; stop it from there")
        with PidFd(pid) as process:
            # The pid may have been reused between the look and the grip: look again, then it is
            # certain.
            if directory.owner() != pid:
                return pid, True
            process.send(signal.SIGTERM)
            return pid, process.wait(timeout)
