"""A server under load that is wounded again and again, and has to stay as good as new.

One server with `restart = "on-crash"`; clients good and bad; children killed, frozen and thawed,
storms of SIGUSR1. At any time requests of three seconds, streams and WebSockets are in hand, so
one or two generations drain beside the one that serves. Exits 0 when every failed request is
explained by a kill, every kill by one entry, nothing has grown, and nothing is left; else 1, with a
line for each thing that is wrong.
"""

import argparse
import os
import random
import re
import signal
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from tests.benchmarks.contenders import ROOT
from tests.benchmarks.soak.clients import Address, Crowd
from tests.benchmarks.soak.served import WEB, write_config
from tests.benchmarks.soak.verdict import Kill
from tests.benchmarks.soak.watch import Watch
from tests.support.harness import Server

ASKING: Final = ("echo", "echo", "echo", "drip", "web", "web", "web", "udp", "udp", "status")
LASTING: Final = ("long", "long", "stream", "stream", "websocket", "websocket")
RUDE: Final = ("rude", "rude-web", "rude-status")
FATAL: Final = (signal.SIGKILL, signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT)
# Seconds from ready to the next kill: after a short life the next generation may have to wait.
STEADY, EARLY = (1.2, 3.0), (0.05, 0.9)
STORM: Final = 50  # signals
WARM: Final = 5  # generations until the first look
LOOK_EVERY: Final = 3  # kills
QUICK: Final = 30.0  # s


class Soak:
    """Everything that is done to the server; the Watch judges the consequences."""

    def __init__(self, server: Server, watch: Watch, seed: int) -> None:
        self._server, self._watch = server, watch
        self._rng = random.Random(seed)

    def run(self, seconds: float) -> None:
        """Wound it until the time is over, then stop clients and server."""
        watch, ends_at = self._watch, time.monotonic() + seconds
        watch.wait_for("server ready ")
        addresses = self._addresses()
        with closing(
            Crowd(ASKING + LASTING + RUDE, addresses, self._rng.randrange(2**32))
        ) as crowd:
            while time.monotonic() < ends_at:
                self._vex()
                watch.wait_for_drains(1)  # of three that drain the oldest would be killed
                self._wound()
                if len(watch.kills) >= WARM and len(watch.kills) % LOOK_EVERY == 0:
                    watch.wait_for_drains(0)
                    watch.look()
            watch.hear(crowd.stop())
        watch.stop_server(addresses)

    def _addresses(self) -> dict[str, Address]:
        listens = {one["name"]: one["listen"] for one in self._server.stats()["workers"]}
        found = {name: re.search(r"([\d.]+):(\d+)", str(where)) for name, where in listens.items()}
        return {name: (where[1], int(where[2])) for name, where in found.items() if where}

    def _vex(self) -> None:
        """Let it serve for as long as the next kill has to wait, and do what must not hurt."""
        spacing = self._rng.uniform(*(EARLY if self._rng.random() < 0.25 else STEADY))
        ready_at = time.monotonic()
        for act in self._rng.sample((self._storm, self._freeze), self._rng.randrange(3)):
            self._watch.live(self._rng.uniform(0.0, spacing / 4))
            act()
        self._watch.live(ready_at + spacing - time.monotonic())

    def _storm(self) -> None:
        """SIGUSR1 to the master and to children, many times; at least one is answered."""
        self._watch.acts["storms"] += 1
        self._watch.entries.clear()
        pids = [pid for _, pid in self._watch.children()]
        for _ in range(STORM):
            os.kill(self._server.pid, signal.SIGUSR1)
            os.kill(self._rng.choice(pids), signal.SIGUSR1)
        self._watch.wait_for("statistics")

    def _freeze(self) -> None:
        """Stop a child for a moment."""
        self._watch.acts["frozen"] += 1
        _, pid = self._rng.choice(self._watch.children())
        os.kill(pid, signal.SIGSTOP)
        self._watch.live(self._rng.uniform(0.0, 0.3))
        os.kill(pid, signal.SIGCONT)

    def _wound(self) -> None:
        """Kill a child, hear why it died, and wait until all are ready again."""
        self._watch.entries.clear()
        children = self._watch.children()
        section, pid = self._rng.choice(children)
        cause = self._rng.choice(FATAL)
        if self._rng.random() < 0.2:  # one that is frozen must not hold the others up
            os.kill(self._rng.choice([one for _, one in children if one != pid]), signal.SIGSTOP)
        at = time.monotonic()
        os.kill(pid, cause)
        if self._rng.random() < 0.2:
            os.kill(self._server.pid, signal.SIGUSR1)
        died = self._watch.wait_for("child died ")
        self._watch.kills.append(Kill(cause.name, section, pid, at, time.monotonic()))
        told = (died.facts["pid"], died.facts["worker"], died.facts["cause"])
        if told != (str(pid), section, cause.name):
            self._watch.complaints.append(f"killed {section} {pid} by {cause.name}: {died.message}")
        self._watch.wait_for("server restarting ")
        self._watch.wait_for("server ready ")


def main() -> int:
    arguments = parsed()
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    seconds = QUICK if arguments.quick else arguments.seconds
    print(f"soak of {seconds:.0f} s, --seed {seed}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="supervisor-soak-") as name:
        directory = Path(name)
        server = Server(directory, write_config(directory, ROOT, arguments.web))
        server.runtime = directory / "run"
        watch = Watch(server, arguments.log)
        soak = Soak(server, watch, seed)
        try:
            soak.run(seconds)
            watch.check_totals(directory / "totals.json")
        except (AssertionError, OSError, TimeoutError) as error:  # it cannot go on
            watch.complaints.append(f"{type(error).__name__}: {error}")
        watch.complaints += server.close()
        left = {path.name for path in directory.iterdir()}
        if left := left - {"soak.toml", "totals.json", "cache", "www"}:
            watch.complaints.append(f"files left: {sorted(left)}")
    print(watch.verdict(seed))
    for complaint in watch.complaints:
        print(f"WRONG: {complaint}")
    print("soak: FAILED" if watch.complaints else "soak: ok")
    return int(bool(watch.complaints))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="default: %(default).0f")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK:.0f} s")
    parser.add_argument("--web", choices=WEB, default="http", help="who serves the pages")
    parser.add_argument("--seed", type=int, help="repeat what this one chose; default: a new one")
    parser.add_argument("--log", type=argparse.FileType("w"), help="keep the server's log here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
