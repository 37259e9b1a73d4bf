"""A server under load that is wounded again and again, and has to stay as good as new.

One server with `restart = "on-crash"`; clients good and bad; children killed, frozen and thawed,
storms of SIGUSR1. Exits 0 when every failed request is explained by a kill, every kill by one
entry, nothing has grown, and nothing is left; else 1, with a line for each thing that is wrong.
"""

import argparse
import json
import os
import random
import re
import signal
import socket
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final, TextIO

from supervisor import scoreboard
from supervisor.master import BackOff
from tests.benchmarks.servers import ROOT
from tests.benchmarks.soak_clients import Address, Crowd, Failure
from tests.benchmarks.soak_served import BEAT_FILES, WEB, write_config
from tests.benchmarks.soak_verdict import (
    IN_HAND,
    MEBI,
    Entry,
    Kill,
    Vitals,
    entries,
    follow,
    grown,
    unexplained,
)
from tests.harness import DEADLINE, Server

CROWD: Final = (
    *("echo", "echo", "echo", "drip", "web", "web", "web", "udp", "udp"),
    *("status", "rude", "rude-web", "rude-status"),
)
FATAL: Final = (signal.SIGKILL, signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT)
PROGRESS: Final = 5.0  # s
# Seconds from ready to the next kill: beyond 1 s the next generation follows at once, before that
# it backs off, for ever longer; beyond 10 s that is forgotten.
STEADY, EARLY, HEALTHY = (1.2, 3.0), (0.05, 0.9), (10.3, 11.0)
LONGEST_WAIT: Final = 0.8  # s of back-off before the server is left alone until healthy
STORM: Final = 50  # signals
WARM: Final = 5  # generations until the first look
EXPECTED: Final = re.compile(r"child died|server restarting")  # once for each kill


class Soak:
    """One server, its clients, and what was seen of them."""

    def __init__(self, server: Server, seed: int, log: TextIO | None) -> None:
        self.complaints: list[str] = []
        self.kills: list[Kill] = []
        self.answered: Counter[str] = Counter()
        self.looks: list[Vitals] = []
        self._server = server
        self._rng = random.Random(seed)
        self._log = log
        self._failures: list[Failure] = []
        self._grown: set[str] = set()
        self._crowd: Crowd | None = None
        self._entries: deque[Entry] = deque()
        self._tail = ""
        self._consequences: Counter[str] = Counter()
        self._began_at = time.monotonic()
        self._say_at = self._began_at
        self._back_offs = {BackOff()}
        self._storms = self._frozen = 0

    # What comes in.

    def turn(self, by: float) -> None:
        """Wait once, for the log, a report, or the time; take in what there is."""
        controls = self._crowd.open if self._crowd else []
        until = min(by, self._say_at)
        self._server._read(until, *(control.fileno() for control in controls))
        self._take_log()
        for report in self._crowd.reports() if self._crowd else ():
            self.answered[report.kind] += report.answered
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
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.turn(until)

    # What is done to the server.

    def run(self, seconds: float) -> None:
        """Wound it until the time is over, then stop clients and server."""
        ready = self.wait_for("server ready ")
        addresses = self._addresses()
        with closing(Crowd(CROWD, addresses, self._rng.randrange(2**32))) as self._crowd:
            while time.monotonic() < self._began_at + seconds:
                self._vex()
                ready = self._wound(ready)
                if len(self.kills) >= WARM:
                    self._look()
            self._crowd.stop()
            give_up_at = time.monotonic() + DEADLINE
            while self._crowd.open and time.monotonic() < give_up_at:
                self.turn(give_up_at)
            if self._crowd.open:
                self.complaints.append(f"{len(self._crowd.open)} clients are stuck")
        self._crowd = None
        self._say()
        self.complaints += unexplained(self._failures, self.kills)
        self._stop(addresses)

    def _addresses(self) -> dict[str, Address]:
        workers = self._server.stats()["workers"]
        return {
            one["name"]: (host, int(port))
            for one in workers
            for listen in one["listen"]
            for host, _, port in [listen["address"].partition("://")[2].rpartition(":")]
        }

    def _vex(self) -> None:
        """Let it serve for as long as the next kill has to wait, and do what must not hurt."""
        longest = max(one.last for one in self._back_offs)
        kind = EARLY if self._rng.random() < 0.25 else STEADY
        spacing = self._rng.uniform(*(HEALTHY if longest > LONGEST_WAIT else kind))
        ready_at = time.monotonic()
        for act in self._rng.sample((self._storm, self._freeze), self._rng.randrange(3)):
            self.live(self._rng.uniform(0.0, spacing / 4))
            act()
        self.live(ready_at + spacing - time.monotonic())

    def _storm(self) -> None:
        """SIGUSR1 to the master and to children, many times; at least one is answered."""
        self._storms += 1
        self._entries.clear()
        pids = [pid for _, pid in self._children()]
        for _ in range(STORM):
            os.kill(self._server.pid, signal.SIGUSR1)
            os.kill(self._rng.choice(pids), signal.SIGUSR1)
        self.wait_for("statistics")

    def _freeze(self) -> None:
        """Stop a child for a moment."""
        self._frozen += 1
        _, pid = self._rng.choice(self._children())
        os.kill(pid, signal.SIGSTOP)
        self.live(self._rng.uniform(0.0, 0.3))
        os.kill(pid, signal.SIGCONT)

    def _wound(self, ready: Entry) -> Entry:
        """Kill a child, hear why it died, and return the word that all are ready again."""
        self._entries.clear()
        children = self._children()
        section, pid = self._rng.choice(children)
        cause = self._rng.choice(FATAL)
        if self._rng.random() < 0.2:  # one that is frozen must not hold the others up
            os.kill(self._rng.choice([one for _, one in children if one != pid]), signal.SIGSTOP)
        at = time.monotonic()
        os.kill(pid, cause)
        if self._rng.random() < 0.2:
            os.kill(self._server.pid, signal.SIGUSR1)
        died = self.wait_for("child died ")
        self.kills.append(Kill(cause.name, section, pid, at, time.monotonic()))
        told = (died.facts["pid"], died.facts["worker"], died.facts["cause"])
        if told != (str(pid), section, cause.name):
            self.complaints.append(f"killed {section} {pid} by {cause.name}: {died.message}")
        self._follow(died.at - ready.at, self.wait_for("server restarting "))
        return self.wait_for("server ready ")

    def _follow(self, ready_for: float, restarting: Entry) -> None:
        wait = float(restarting.facts["wait"].rstrip("s"))
        possible = follow(self._back_offs, ready_for, wait)
        if not possible:
            self.complaints.append(
                f"after {ready_for:.3f} s ready, in {self._back_offs}: {restarting.message}"
            )
        self._back_offs = possible or {BackOff(wait, wait)}

    def _children(self) -> list[tuple[str, int]]:
        """(section, pid) of each child; they are alive, for only we kill."""
        snapshot = scoreboard.read(self._server.runtime / "scoreboard")
        names = [
            one["name"] for one in snapshot.description["workers"] for _ in range(one["children"])
        ]
        return [(name, snapshot.row(n)[scoreboard.PID]) for n, name in enumerate(names)]

    # What is looked at.

    def _look(self) -> None:
        self.looks.append(vitals(self._server))
        for what, how in grown(self.looks[0], self.looks[-1]).items():
            if what not in self._grown:
                self._grown.add(what)
                self.complaints.append(how)

    def _stop(self, addresses: dict[str, Address]) -> None:
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
                # What TIME_WAIT holds is no listener.
                again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(kind != 2))
                try:
                    again.bind(address)
                except OSError as error:
                    self.complaints.append(f"{name}: {address} cannot be bound again: {error}")

    def check_totals(self, file: Path) -> None:
        """What was answered was counted, through all generations; a kill costs what was in hand."""
        counted = json.loads(file.read_text())["counters.requests"]
        answered = sum(n for kind, n in self.answered.items() if not kind.startswith("rude"))
        lost = sum(IN_HAND[kill.section] for kill in self.kills)
        if counted < answered - lost:
            self.complaints.append(f"{answered} requests answered, {counted} counted")

    def _say(self) -> None:
        look = self.looks[-1] if self.looks else None
        memory = f", master {look.rss / MEBI:.1f} MiB rss" if look else ""
        descriptors = f" {sum(look.descriptors.values())} descriptors" if look else ""
        print(
            f"{time.monotonic() - self._began_at:6.1f} s  {len(self.kills)} kills, "
            f"{self._storms} storms, {self._frozen} frozen; answered "
            f"{sum(self.answered.values())}, failed {len(self._failures)}{memory}{descriptors}; "
            f"wrong {len(self.complaints)}",
            file=sys.stderr,
            flush=True,
        )

    def verdict(self, seed: int) -> str:
        """What was seen, in few lines."""
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.answered.items()))
        causes = Counter(kill.cause for kill in self.kills)
        killed = ", ".join(f"{cause} {count}" for cause, count in sorted(causes.items()))
        failed = Counter(f"{failure.section} {failure.what}" for failure in self._failures)
        lines = [
            f"seed {seed}; {time.monotonic() - self._began_at:.0f} s; killed: {killed}",
            f"answered: {kinds}",
            f"failed: {', '.join(f'{what} {n}' for what, n in sorted(failed.items())) or 'none'}",
        ]
        if self.looks:
            rss = [look.rss / MEBI for look in self.looks]
            lines.append(
                f"{len(rss)} looks: rss of the master {rss[0]:.1f}, then {rss[-1]:.1f} MiB"
            )
        return "\n".join(lines)


class Broken(Exception):
    """It cannot go on."""


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


def main() -> int:
    arguments = parsed()
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    print(f"soak of {arguments.seconds:.0f} s, --seed {seed}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="supervisor-soak-") as name:
        directory = Path(name)
        server = Server(directory, write_config(directory, ROOT, arguments.web))
        server.runtime = directory / "run"
        soak = Soak(server, seed, arguments.log)
        guarded(soak, lambda: soak.run(arguments.seconds))
        guarded(soak, lambda: soak.check_totals(directory / "totals.json"))
        soak.complaints += server.close()
        left = {path.name for path in directory.iterdir()}
        if left - {"soak.toml", "totals.json", "cache", "www"}:
            soak.complaints.append(f"files left: {sorted(left)}")
    print(soak.verdict(seed))
    for complaint in soak.complaints:
        print(f"WRONG: {complaint}")
    print("soak: FAILED" if soak.complaints else "soak: ok")
    return int(bool(soak.complaints))


def guarded(soak: Soak, run: Callable[[], None]) -> None:
    try:
        run()
    except (Broken, AssertionError, OSError) as error:
        soak.complaints.append(f"{type(error).__name__}: {error}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="default: %(default).0f")
    parser.add_argument("--web", choices=WEB, default="http", help="who serves the pages")
    parser.add_argument("--seed", type=int, help="repeat what this one chose; default: a new one")
    parser.add_argument("--log", type=argparse.FileType("w"), help="keep the server's log here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
