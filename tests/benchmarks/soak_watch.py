"""What is seen of a server under soak: its log, its clients' reports, its vital signs, its end."""

import json
import os
import re
import signal
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

from tests.benchmarks.soak_clients import Address, Crowd, Failure
from tests.benchmarks.soak_served import BEAT_FILES
from tests.benchmarks.soak_verdict import (
    IN_HAND,
    MEBI,
    Entry,
    Kill,
    Vitals,
    entries,
    grown,
    unexplained,
)
from tests.support.harness import DEADLINE, Server

PROGRESS: Final = 5.0  # s
EXPECTED: Final = re.compile(r"child died|server restarting")  # once for each kill


class Broken(Exception):
    """It cannot go on."""


class Watch:
    """Takes in what there is to see, and keeps what is wrong with it."""

    def __init__(self, server: Server, log: TextIO | None) -> None:
        self.complaints: list[str] = []
        self.kills: list[Kill] = []
        self.acts: Counter[str] = Counter()
        self._server = server
        self._log = log
        self._answered: Counter[str] = Counter()
        self._looks: list[Vitals] = []
        self._failures: list[Failure] = []
        self._grown: set[str] = set()
        self._crowd: Crowd | None = None
        self._entries: deque[Entry] = deque()
        self._tail = ""
        self._consequences: Counter[str] = Counter()
        self._began_at = time.monotonic()
        self._say_at = self._began_at

    def turn(self, by: float) -> None:
        """Wait once, for the log, a report, or the time; take in what there is."""
        controls = self._crowd.open if self._crowd else []
        until = min(by, self._say_at)
        self._server._read(until, *(control.fileno() for control in controls))
        self._take_log()
        for report in self._crowd.reports() if self._crowd else ():
            self._answered[report.kind] += report.answered
            self._failures += report.failures
        if time.monotonic() >= self._say_at:
            self._say_at = time.monotonic() + PROGRESS
            self._say()

    def _take_log(self) -> None:
        text, self._server.log = self._server.log, ""
        if self._log:
            self._log.write(text)
        lines = (self._tail + text).split("\n")
        self._tail = lines.pop()
        for entry in entries(lines):
            self._entries.append(entry)
            if expected := EXPECTED.match(entry.message):
                self._consequences[expected[0]] += 1
            elif entry.level in ("WARNING", "ERROR"):
                self.complaints.append(f"unexpected: {entry.level} {entry.subject} {entry.message}")

    def wait_for(self, beginning: str, subject: str = "master") -> Entry:
        """The next entry that begins so; the ones before it have been looked at."""
        give_up_at = time.monotonic() + DEADLINE
        while True:
            while self._entries:
                entry = self._entries.popleft()
                if entry.message.startswith(beginning) and entry.subject.startswith(subject):
                    return entry
            if self._server.process.poll() is not None or time.monotonic() >= give_up_at:
                raise Broken(f"no entry {beginning!r} within {DEADLINE:.0f} s")
            self.turn(give_up_at)

    def live(self, seconds: float) -> None:
        """Take in what comes for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.turn(until)

    def forget_entries(self) -> None:
        """Wait for what is still to come only."""
        self._entries.clear()

    def listen_to(self, crowd: Crowd) -> None:
        """Take its reports from now on."""
        self._crowd = crowd

    def dismiss(self) -> None:
        """Let the clients finish, hear their last reports, and judge what failed."""
        crowd, give_up_at = self._crowd, time.monotonic() + DEADLINE
        assert crowd is not None
        crowd.stop()
        while crowd.open and time.monotonic() < give_up_at:
            self.turn(give_up_at)
        if crowd.open:
            self.complaints.append(f"{len(crowd.open)} clients are stuck")
        self._crowd = None
        self._say()
        self.complaints += unexplained(self._failures, self.kills)

    def look(self) -> None:
        """Compare the vital signs with those of the first look; each change is told once."""
        self._looks.append(vitals(self._server))
        for what, how in grown(self._looks[0], self._looks[-1]).items():
            if what not in self._grown:
                self._grown.add(what)
                self.complaints.append(how)

    def stop_server(self, addresses: dict[str, Address]) -> None:
        """SIGTERM: it dies of that, and nothing is left."""
        self._server.signal(signal.SIGTERM)
        status = self._server.wait()
        if status != -signal.SIGTERM:
            self.complaints.append(f"status {status} after SIGTERM")
        self._server.wait_gone()
        self._take_log()
        for what, count in self._consequences.items():
            if count != len(self.kills):
                self.complaints.append(f"{len(self.kills)} kills, {count} entries {what!r}")
        if self._server.runtime.exists():
            left = sorted(path.name for path in self._server.runtime.iterdir())
            self.complaints.append(f"runtime directory left: {left}")
        for name, address in addresses.items():
            kind = socket.SOCK_DGRAM if name == "udp" else socket.SOCK_STREAM
            with socket.socket(socket.AF_INET, kind) as again:
                if kind is socket.SOCK_STREAM:  # what TIME_WAIT holds is no listener
                    again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    again.bind(address)
                except OSError as error:
                    self.complaints.append(f"{name}: {address} cannot be bound again: {error}")

    def check_totals(self, file: Path) -> None:
        """What was answered was counted, through all generations; a kill costs what was in hand."""
        counted = json.loads(file.read_text())["counters.requests"]
        answered = sum(n for kind, n in self._answered.items() if not kind.startswith("rude"))
        lost = sum(IN_HAND[kill.section] for kill in self.kills)
        if counted < answered - lost:
            self.complaints.append(f"{answered} requests answered, {counted} counted")

    def _say(self) -> None:
        look = self._looks[-1] if self._looks else None
        memory = f", master {look.rss / MEBI:.1f} MiB rss" if look else ""
        descriptors = f" {sum(look.descriptors.values())} descriptors" if look else ""
        print(
            f"{time.monotonic() - self._began_at:6.1f} s  {len(self.kills)} kills, "
            f"{self.acts['storms']} storms, {self.acts['frozen']} frozen; answered "
            f"{sum(self._answered.values())}, failed {len(self._failures)}{memory}{descriptors}; "
            f"wrong {len(self.complaints)}",
            file=sys.stderr,
            flush=True,
        )

    def verdict(self, seed: int) -> str:
        """What was seen, in few lines."""
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self._answered.items()))
        causes = Counter(kill.cause for kill in self.kills)
        killed = ", ".join(f"{cause} {count}" for cause, count in sorted(causes.items()))
        failed = Counter(f"{failure.section} {failure.what}" for failure in self._failures)
        lines = [
            f"seed {seed}; {time.monotonic() - self._began_at:.0f} s; killed: {killed}",
            f"answered: {kinds}",
            f"failed: {', '.join(f'{what} {n}' for what, n in sorted(failed.items())) or 'none'}",
        ]
        if self._looks:
            rss = [look.rss / MEBI for look in self._looks]
            lines.append(
                f"{len(rss)} looks: rss of the master {rss[0]:.1f}, then {rss[-1]:.1f} MiB"
            )
        return "\n".join(lines)


def vitals(server: Server) -> Vitals:
    """What the master holds now."""
    proc = Path(f"/proc/{server.pid}")
    links = [os.readlink(one) for one in (proc / "fd").iterdir()]
    memory = (proc / "smaps_rollup").read_text()
    threads = re.search(r"^Threads:\s+(\d+)$", (proc / "status").read_text(), re.M)
    assert threads is not None
    return Vitals(
        dict(sorted(Counter(re.sub(r"\d+", "N", link) for link in links).items())),
        int(threads[1]),
        frozenset(files_of(server.runtime)),
        kilobytes("Rss", memory),
        kilobytes("Pss", memory),
    )


def files_of(directory: Path) -> Iterator[str]:
    """What is in the runtime directory, but for what one child of each generation makes there."""
    names = (str(path.relative_to(directory)) for path in directory.rglob("*"))
    return (name for name in names if name not in BEAT_FILES)


def kilobytes(name: str, text: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.M)
    assert found is not None
    return int(found[1]) * 1024
