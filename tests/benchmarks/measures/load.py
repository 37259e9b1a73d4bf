"""The cost of requests and datagrams: measured by wrk(1), by a window of datagrams, by a child."""

import re
import socket
import subprocess
import time
from typing import Final

from tests.benchmarks.contenders import QUESTIONS, Contender
from tests.benchmarks.kernel import cpu_seconds, tree
from tests.benchmarks.running import PATIENCE, Running, datagrams_to, running

CONNECTIONS: Final = 32
WINDOW: Final = 16  # datagrams on their way
UNITS: Final = {"us": 1e-3, "ms": 1.0, "s": 1e3}
SLOWEST: Final = r"(?m)^\s+99%\s+([\d.]+)(us|ms|s)$"
ERRORS: Final = r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)"
BAD: Final = r"Non-2xx or 3xx responses: (\d+)"


def throughput(contender: Contender, children: int, seconds: float) -> dict[str, float]:
    """Kept connections and a connection for each request, against one and the same server."""
    with running(contender, children) as server:
        load(server, 1)  # to warm up
        kept = turn(server, int(seconds))
        closed = turn(server, int(seconds), "-H", "Connection: close")
    failed = kept.pop("failed") + closed.pop("failed")
    named = {f"kept_{key}": value for key, value in kept.items()}
    return named | {f"closed_{key}": value for key, value in closed.items()} | {"failed": failed}


def turn(server: Running, seconds: int, *options: str) -> dict[str, float]:
    """The figures of wrk; us of CPU of all processes a request; % of that in the busiest process.

    Who accepts all connections in one child leaves the other CPU to wrk: fast here, and only here.
    """
    pids = tree(server.pid)
    before = [cpu_seconds([pid]) for pid in pids]
    said = figures(load(server, seconds, *options))
    used = [cpu_seconds([pid]) - spent for pid, spent in zip(pids, before, strict=True)]
    cpu = sum(used) / max(said.pop("requests"), 1) * 1e6
    return said | {"cpu": cpu, "busiest": max(used) / sum(used) * 100}


def load(server: Running, seconds: int, *options: str) -> str:
    command = ["wrk", "--latency", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", *options]
    url = f"http://127.0.0.1:{server.port}/"
    return subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout


def figures(said: str) -> dict[str, float]:
    """The figures that wrk printed: requests, these a second, ms of the slowest 1 %, failures."""
    (count,) = re.findall(r"(\d+) requests in", said)
    (rate,) = re.findall(r"Requests/sec:\s+([\d.]+)", said)
    slowest, unit = (re.findall(SLOWEST, said) or [(0, "s")])[0]
    failed = sum(map(int, [*re.findall(BAD, said), *(re.findall(ERRORS, said) or [()])[0]]))
    facts = {"requests": float(count), "rate": float(rate), "failed": float(failed)}
    return facts | {"slowest": float(slowest) * UNITS[unit]}


def datagrams(contender: Contender, children: int, seconds: float) -> dict[str, float]:
    """Answers a second, and us of the children's CPU time for each.

    A lost datagram would shrink the window: it raises TimeoutError.
    """
    question = QUESTIONS[contender.family]
    with running(contender, children) as server, datagrams_to(server.port) as client:
        pids, answered = tree(server.pid)[1:], 0
        before, began_at = cpu_seconds(pids), time.monotonic()
        for _ in range(WINDOW):
            client.send(question)
        while (now := time.monotonic()) < began_at + seconds:
            client.recv(65535)
            client.send(question)
            answered += 1
        for _ in range(WINDOW):
            client.recv(65535)
        cpu = (cpu_seconds(pids) - before) / (answered + WINDOW)
        return {"rate": answered / (now - began_at), "cpu": cpu * 1e6}


def cost(contender: Contender, children: int, samples: float) -> dict[str, float]:
    """Microseconds of CPU time: `with child.request()`, a context that does nothing.

    The least of so many samples: all noise only adds.
    """
    taken = []
    with running(contender, children) as server:
        for _ in range(int(samples)):
            with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
                taken.append([float(word) for word in client.makefile().read().split()])
    request, bare = map(min, zip(*taken, strict=True))
    return {"request": request, "bare": bare}
