"""Observes a server under soak: its log, its clients' reports, its vital signs, its end."""

import json
import os
import re
import signal
import socket
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import Final, TextIO

from tests.benchmarks.kernel import can_bind, sizes
from tests.benchmarks.soak.clients import Address, Report
from tests.benchmarks.soak.served import BEAT_FILES
from tests.benchmarks.soak.verdict import IN_HAND, MEBI, Entry, Kill, entries, grown, unexplained
from tests.support.harness import DEADLINE, Server

PROGRESS: Final = 5.0  # s
EXPECTED: Final = re.compile(r"child died|server restarting")  # once for each kill


class Watch:
    """Takes in what there is to see, and keeps what is wrong with it."""

    def __init__(self, server: Server, log: TextIO | None) -> None:
        self.complaints: list[str] = []
        self.kills: list[Kill] = []
        self.acts: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        # (generation, section, pid) of each child, by slot, as its last word of readiness told
        self._children: dict[str, tuple[int, str, int]] = {}
        self._server, self._log = server, log
        self._gone: set[int] = set()  # generations
        self._looks: list[Counter[str]] = []
        self._grown: set[str] = set()
        self.entries: deque[Entry] = deque()
        self._tail = ""
        self._consequences = Counter({"child died": 0, "server restarting": 0})
        self._began_at = self._say_at = time.monotonic()

    def turn(self, by: float) -> None:
        """Wait once, for the log or the time; take in what there is."""
        self._server.read(min(by, self._say_at))
        self._take_log()
        if time.monotonic() >= self._say_at:
            self._say_at = time.monotonic() + PROGRESS
            self._say()

    def _take_log(self) -> None:
        text, self._server.log = self._server.log, ""
        if self._log:
            self._log.write(text)
        *lines, self._tail = (self._tail + text).split("\n")
        for entry in entries(lines):
            self.entries.append(entry)
            self._judge(entry)

    def _judge(self, entry: Entry) -> None:
        if expected := EXPECTED.match(entry.message):
            self._consequences[expected[0]] += 1
        elif entry.level in ("WARNING", "ERROR"):
            self.complaints.append(f"unexpected: {entry.level} {entry.subject} {entry.message}")
        elif entry.message.startswith("generation gone "):
            self._gone.add(int(entry.facts["generation"]))
        elif entry.message.startswith("child ready "):
            facts = entry.facts
            generation, pid = int(facts["generation"]), int(facts["pid"])
            self._children[facts["slot"]] = generation, facts["worker"], pid

    def children(self) -> list[tuple[str, int]]:
        """(section, pid) of those that serve; an older generation may still drain beside them."""
        newest = max(generation for generation, _, _ in self._children.values())
        return [(name, pid) for number, name, pid in self._children.values() if number == newest]

    def wait_for_drains(self, most: int) -> None:
        """Until all older generations but so many have drained and given back what they had."""
        newest = max(generation for generation, _, _ in self._children.values())
        give_up_at = time.monotonic() + DEADLINE
        while len(set(range(1, newest)) - self._gone) > most:
            assert time.monotonic() < give_up_at, f"generations gone: {sorted(self._gone)}"
            self.turn(give_up_at)

    def wait_for(self, beginning: str) -> Entry:
        """The master's next entry that begins so; the ones before it have been looked at."""
        give_up_at = time.monotonic() + DEADLINE
        while True:
            while self.entries:
                entry = self.entries.popleft()
                if entry.message.startswith(beginning) and entry.subject.startswith("master"):
                    return entry
            gone = self._server.process.poll() is not None or time.monotonic() >= give_up_at
            assert not gone, f"no entry {beginning!r} within {DEADLINE:.0f} s"
            self.turn(give_up_at)

    def live(self, seconds: float) -> None:
        """Take in what comes for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.turn(until)

    def hear(self, reports: list[Report]) -> None:
        """Judge what failed of what the clients asked."""
        failures = [failure for report in reports for failure in report.failures]
        for report in reports:
            self.answered[report.kind] += report.answered
        self.failed.update(f"{failure.section} {failure.what}" for failure in failures)
        self.complaints += unexplained(failures, self.kills)

    def look(self) -> None:
        """Compare the vital signs with those of the first look; each change is told once."""
        self._looks.append(vitals(self._server))
        changes = grown(self._looks[0], self._looks[-1])
        self.complaints += [how for what, how in changes.items() if what not in self._grown]
        self._grown |= changes.keys()

    def stop_server(self, addresses: dict[str, Address]) -> None:
        """SIGTERM: it dies of that, and nothing is left."""
        status = self._server.stop()
        self._server.wait_gone()
        self._take_log()
        if set(self._consequences.values()) - {len(self.kills)}:
            self.complaints.append(f"{len(self.kills)} kills, but {told(self._consequences)}")
        if status != -signal.SIGTERM:
            self.complaints.append(f"status {status} after SIGTERM")
        if self._server.runtime.exists():
            left = sorted(path.name for path in self._server.runtime.iterdir())
            self.complaints.append(f"runtime directory left: {left}")
        for name, address in addresses.items():
            if not can_bind(address, socket.SOCK_DGRAM if name == "udp" else socket.SOCK_STREAM):
                self.complaints.append(f"{name}: {address} cannot be bound again")

    def check_totals(self, file: Path) -> None:
        """Complain if fewer requests were counted, over all generations, than were answered. A kill
        may cost the count of the requests that the child had in hand.
        """
        counted = json.loads(file.read_text())["counters.requests"]
        answered = sum(n for kind, n in self.answered.items() if not kind.startswith("rude"))
        lost = sum(IN_HAND[kill.section] for kill in self.kills)
        if counted < answered - lost:
            self.complaints.append(f"{answered} requests answered, {counted} counted")

    def _say(self) -> None:
        seconds = time.monotonic() - self._began_at
        done = f"{len(self.kills)} kills, {told(self.acts)}, wrong {len(self.complaints)}"
        print(f"{seconds:6.1f} s  {done}", file=sys.stderr, flush=True)

    def verdict(self, seed: int) -> str:
        """The findings, in a few lines."""
        causes = Counter(kill.cause for kill in self.kills)
        rss = [f"{look['RSS, bytes'] / MEBI:.1f}" for look in self._looks] or ["unknown"]
        return (
            f"seed {seed}; {time.monotonic() - self._began_at:.0f} s; killed: {told(causes)}\n"
            f"answered: {told(self.answered)}\nfailed: {told(self.failed)}\n"
            f"{len(self._looks)} looks: MiB rss of the master {rss[0]}, then {rss[-1]}"
        )


def told(counts: Counter[str]) -> str:
    return ", ".join(f"{what} {count}" for what, count in sorted(counts.items())) or "none"


def vitals(server: Server) -> Counter[str]:
    """How much the master holds now, of each kind of what must not grow."""
    proc, memory = Path(f"/proc/{server.pid}"), sizes(server.pid)
    links = [os.readlink(one) for one in (proc / "fd").iterdir()]
    paths = [str(path.relative_to(server.runtime)) for path in server.runtime.rglob("*")]
    # Alone there is one generation, which has the files that the one before it had.
    files = [re.sub(r"^(tmp/|\.scoreboard\.)\d+", r"\1N", path) for path in paths]
    # One child of each generation makes the beat's files there; it may do so just now.
    return Counter(
        [re.sub(r"\d+", "N", f"descriptor of {link}") for link in links]
        + ["thread" for _ in (proc / "task").iterdir()]
        + [f"file {name}" for name in files if not BEAT_FILES.fullmatch(name)]
    ) + Counter({"RSS, bytes": memory["Rss"], "PSS, bytes": memory["Pss"]})
