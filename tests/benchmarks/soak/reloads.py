"""Masters killed at random instants of reloads: a server goes on each time, or nothing is left.

Each round reloads a server and kills its master, or the one that is to follow, at a random instant:
by the clock, or at the n-th audit event of that process, which spreads them over what it does. Then
a server must serve whose status is true, and the next reload must work; or nothing of it may be
left, and the next start must work. Exits 0 when that is so, else 1, with a line for each round that
went wrong. All rounds are repeated by --seed.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.harness import DEADLINE, SUPERVISOR, Program, environment
from tests.support.interrupted import Interrupted, ship

# About as many as there are; most of a successor's are those of its imports. What is counted beyond
# the last one kills nobody, and the round is not counted.
EVENTS: Final = {"earlier": 130, "later": 6000}
NAMED: Final = {
    "earlier": {"os.fork": 1, "socket.sendmsg": 9, "fcntl.lockf": 2, "os.kill": 4, "os.remove": 3},
    "later": {"os.fork": 3, "socket.sendmsg": 6, "fcntl.lockf": 2, "os.rename": 3, "os.link": 1},
}
HOW: Final = ("clock", "any", "named")


class Kill(NamedTuple):
    """One of them; `when` is s after the beginning, or an event with its count."""

    process: str  # earlier: the master, later: its successor
    how: str
    when: tuple[str, int] | float


class Killing:
    """The rounds, on one server after the other, in one directory."""

    def __init__(self, directory: Path, seed: int) -> None:
        self._directory = directory
        self._random = random.Random(seed)
        self._server: Interrupted | None = None
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._manager.bind(str(directory / "notify"))
        self._first = ""
        self._version = 0
        self._took = 0.5  # s of a reload, the last one that was not disturbed
        self.outcomes: collections.Counter[tuple[str, ...]] = collections.Counter()

    def round(self) -> bool:
        """Kill once; False where the reload was over before. Raises AssertionError."""
        server = self._server or self._start()
        kill = self._choose()
        pid = server.stats()["pid"]
        begun = len(server.drain())
        if isinstance(kill.when, tuple):
            server.interrupt("SIGKILL", *kill.when, kill.process)
        self._ship()
        with self._reload(server) as reload:
            if isinstance(kill.when, float):
                was_late = not self._kill(server, kill, pid, begun)
            status = reload.wait(DEADLINE)
        if isinstance(kill.when, tuple):
            was_late = server.take_back()
        if was_late:
            return False
        left = self._expect_all_well(server)
        self.outcomes[self._first, kill.process, kill.how, f"reload {status}", left] += 1
        return True

    def end(self) -> list[str]:
        """Stop the last server; return what outlived it."""
        server = self._server or self._start()
        assert server.command("stop").returncode == 0
        self._manager.close()
        return [*self._bury(server), *server.left_behind()]

    def _start(self) -> Interrupted:
        self._ship()
        self._first = self._random.choice(["stays", "leaves"])
        notify = {"NOTIFY_SOCKET": str(self._directory / "notify")}
        self._server = Interrupted(self._directory, notify if self._first == "leaves" else {})
        self._server.wait_for("server ready ")
        return self._server

    def _choose(self) -> Kill:
        process = self._random.choice(["earlier", "later"])
        how = self._random.choice(HOW)
        if how == "clock":
            return Kill(process, how, self._random.uniform(0.0, 1.2 * self._took))
        if how == "any":
            return Kill(process, how, ("any", self._random.randint(1, EVENTS[process])))
        event, most = self._random.choice(sorted(NAMED[process].items()))
        return Kill(process, how, (event, self._random.randint(1, most)))

    def _ship(self) -> None:
        self._version += 1
        ship(self._directory, "v" * self._version)

    @staticmethod
    def _reload(server: Interrupted) -> subprocess.Popen[bytes]:
        command = [SUPERVISOR, "reload", "-c", str(server.config)]
        return subprocess.Popen(
            command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    @staticmethod
    def _kill(server: Interrupted, kill: Kill, pid: int, begun: int) -> bool:
        """By the clock, which begins with the successor; False where there is nobody any more."""
        (found,) = server.wait_for(r"reload begun successor=(\d+)", since=begun)
        assert isinstance(kill.when, float)
        victim = os.pidfd_open(int(found[1]) if kill.process == "later" else pid)
        by = time.monotonic() + kill.when
        while server.read(by):
            pass
        with contextlib.suppress(ProcessLookupError), open(victim, "rb"):
            signal.pidfd_send_signal(victim, signal.SIGKILL)
            return True
        return False

    def _expect_all_well(self, server: Interrupted) -> str:
        """Wait until it is clear whether a server goes on: then a reload works, or all are gone."""
        by = time.monotonic() + DEADLINE
        while not server.is_gone:
            server.drain()
            self._ship()
            begun = time.monotonic()
            done = server.command("reload")
            if done.returncode == 0:
                self._took = time.monotonic() - begun
                self._expect_service(server, done.stdout)
                return "serves"
            assert time.monotonic() < by, f"neither serves nor ends: {done.stderr}"
        for command in ("status", "reload"):
            done = server.command(command)
            assert done.returncode == 3, done
        self._server = None
        complaints = self._bury(server)
        assert not complaints, complaints
        return "gone"

    def _expect_service(self, server: Interrupted, said: str) -> None:
        facts = server.stats()
        assert said == f"test reloaded, pid {facts['pid']}\n", said
        assert facts["state"] == "running", facts
        (at,) = re.findall(rf"server ready .*pid={facts['pid']}\b", server.drain())[-1:]
        assert at
        assert server.versions() == {"v" * self._version}
        for name in ("test.pid", "test.run/pid"):
            assert int((self._directory / name).read_text()) == facts["pid"], name

    @staticmethod
    def _bury(server: Interrupted) -> list[str]:
        """Its files may be left: the next start clears them."""
        server.wait_gone()
        server.wait()
        return Program.close(server)


def main() -> int:
    arguments = parsed()
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    print(f"{arguments.rounds} kills, --seed {seed}", file=sys.stderr, flush=True)
    complaints: list[str] = []
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="supervisor-kills-") as name:
        killing = Killing(Path(name), seed)
        killed = 0
        while killed < arguments.rounds and not complaints:
            try:
                killed += killing.round()
            except AssertionError as error:
                complaints.append(f"kill {killed + 1}: {error}")
        complaints += killing.end()
    print(f"{killed} kills in {time.monotonic() - begun:.0f} s")
    for outcome, count in sorted(killing.outcomes.items()):
        print(f"{count:4}  {', '.join(outcome)}")
    for complaint in complaints:
        print(f"WRONG: {complaint}")
    print("kills: FAILED" if complaints else "kills: ok")
    return int(bool(complaints))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.soak.reloads", description=__doc__
    )
    parser.add_argument("--rounds", type=int, default=200, help="default: %(default)d")
    parser.add_argument("--seed", type=int, help="repeat what this one chose; default: a new one")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
