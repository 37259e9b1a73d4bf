"""Requests a second by wrk(1), and what a request costs the server in CPU time."""

import re
import subprocess

from tests.benchmarks.peers.contenders import Contender
from tests.benchmarks.peers.running import Peer, running
from tests.benchmarks.peers.tree import cpu_seconds, tree

CONNECTIONS = 32
WARM_UP = 1  # s
CLOSE = ("-H", "Connection: close")
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
COUNT = re.compile(r"(\d+) requests in")
SLOWEST = re.compile(r"^\s+99%\s+([\d.]+)(us|ms|s)$", re.MULTILINE)
ERRORS = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
BAD = re.compile(r"Non-2xx or 3xx responses: (\d+)")


def throughput(contender: Contender, children: int, seconds: float) -> dict[str, float]:
    """Kept connections and a connection for each request, against one and the same server."""
    with running(contender, children) as peer:
        load(peer, WARM_UP)
        kept = turn(peer, int(seconds))
        closed = turn(peer, int(seconds), *CLOSE)
    failed = kept.pop("failed") + closed.pop("failed")
    named = {f"kept_{key}": value for key, value in kept.items()}
    return named | {f"closed_{key}": value for key, value in closed.items()} | {"failed": failed}


def turn(peer: Peer, seconds: int, *options: str) -> dict[str, float]:
    """What wrk says; us of CPU of all processes a request; % of that in the busiest process.

    Who accepts all connections in one child leaves the other CPU to wrk: fast here, and only here.
    """
    pids = tree(peer.pid)
    before = [cpu_seconds([pid]) for pid in pids]
    said = load(peer, seconds, *options)
    used = [cpu_seconds([pid]) - spent for pid, spent in zip(pids, before, strict=True)]
    return figures(said) | {
        "cpu": sum(used) / max(requests(said), 1) * 1e6,
        "busiest": max(used) / sum(used) * 100,
    }


def load(peer: Peer, seconds: int, *options: str) -> str:
    command = ["wrk", "--latency", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", *options]
    url = f"http://127.0.0.1:{peer.port}/"
    return subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout


def requests(said: str) -> int:
    found = COUNT.search(said)
    return int(found[1]) if found else 0


def figures(said: str) -> dict[str, float]:
    """What wrk printed: requests a second, ms of the slowest 1 %, failures."""
    rate, slowest = RATE.search(said), SLOWEST.search(said)
    errors, bad = ERRORS.search(said), BAD.search(said)
    return {
        "rate": float(rate[1]) if rate else 0.0,
        "slowest": float(slowest[1]) * UNITS[slowest[2]] if slowest else 0.0,
        "failed": sum(map(int, errors.groups() if errors else ())) + (int(bad[1]) if bad else 0),
    }
