"""The cost of generations that follow one another: many crashes, many renewals, an end that
somebody waits for, and the whole life of many children.
"""

import os
import signal
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from os import kill
from typing import Final

from tests.benchmarks.contenders import Contender
from tests.benchmarks.kernel import sizes, tree
from tests.benchmarks.measures.crash import FORKED, GIVE_UP, READY, idle_of, settle, took
from tests.benchmarks.measures.lives import requests_begun
from tests.benchmarks.measures.load import WINDOW, figures, load
from tests.benchmarks.running import PATIENCE, Running, answer_from, datagrams_to, running

HUNDRED: Final = 100
GONE: Final = r"generation gone generation={}\b"
NUMBERED: Final = 8  # bytes of a datagram
LOST: Final = 2.0  # s


def never(contender: Contender, children: int, _seconds: float) -> dict[str, float]:
    """SIGKILL of an idle child with `restart = "never"`, while another has a request of 30 s in
    hand: when all are gone.
    """
    option = ("--set", "master.restart=never")
    with running(contender, children, *option) as server, ThreadPoolExecutor(1) as clients:
        clients.submit(answer_from, server.port, b"/longer")
        assert requests_begun(server, 1, GIVE_UP) == 1, "the long one did not begin"
        pids, began_at = tree(server.pid), time.monotonic()
        kill(idle_of(server)[0], signal.SIGKILL)
        gone, left = server.gone_since(began_at, pids, PATIENCE)
        assert not left, f"{len(left)} processes left after {PATIENCE:g} s"
        return {"gone": gone, "status": float(server.process.wait())}


def row(contender: Contender, children: int, seconds: float, *, crashes: int) -> dict[str, float]:
    """One crash after another, each as soon as the generation before is gone, for at most so many
    seconds: what the master has after each, and what it has more after the last hundred than after
    the first.
    """
    with running(contender, children) as server:
        began_at, seen = time.monotonic(), [vitals(server.pid)]
        while len(seen) <= crashes and time.monotonic() < began_at + seconds:
            since = len(server.log)
            kill(server.workers()[-1], signal.SIGKILL)
            number = len(seen) + 1
            server.wait_for(READY.format(number), GONE.format(number - 1), since=since)
            seen.append(vitals(server.pid))
        first, last = (means(some) for some in (seen[1:][:HUNDRED], seen[1:][-HUNDRED:]))
        more = {f"{name}_more": last[name] - first[name] for name in first}
        return {"crashes": len(seen) - 1} | first | more


def vitals(pid: int) -> dict[str, float]:
    """Descriptors, threads, and memory in KiB of one process."""
    size = sizes(pid)
    counts = {"descriptors": "fd", "threads": "task"}
    found = {name: float(len(os.listdir(f"/proc/{pid}/{one}"))) for name, one in counts.items()}
    return found | {"rss": size["Rss"] / 1024, "pss": size["Pss"] / 1024}


def means(some: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.fmean(one[name] for one in some) for name in some[0]}


def renewals(contender: Contender, children: int, seconds: float) -> dict[str, float]:
    """One renewal after another under load, for so many seconds by each kind of it: how many, and
    what failed meanwhile.
    """
    option = ("--set", f"master.renew={{every={seconds / (HUNDRED * 1.5):.3f}}}")
    kept, fresh = (), ("-H", "Connection: close")
    kinds = {"fresh": fresh} if contender.family == "tcp" else {"fresh": fresh, "kept": kept}
    with running(contender, children, *option) as server:
        if contender.family == "udp echo":
            return during(server, seconds, "fresh", partial(echoes, server, seconds))
        facts: dict[str, float] = {}
        for name, options in kinds.items():
            ask = partial(load, server, int(seconds), *options)
            facts |= during(server, seconds, name, lambda ask=ask: figures(ask()))
        return facts


def during(
    server: Running, seconds: float, name: str, ask: Callable[[], dict[str, float]]
) -> dict[str, float]:
    """The renewals while somebody asks for so long, and how many of his questions failed."""
    since = len(server.log)
    with ThreadPoolExecutor(1) as client:
        asked = client.submit(ask)
        server.hear_for(seconds)
        seen = asked.result()
    count = server.log.count("generation renewing ", since)
    return {f"{name}_renewals": count, f"{name}_failed": seen["failed"], name: seen["requests"]}


def echoes(server: Running, seconds: float) -> dict[str, float]:
    """Datagrams with numbers, so many on their way: how many came back, how many did not in 2 s."""
    asked, answered, by = 0, set[int](), time.monotonic() + seconds
    with datagrams_to(server.port) as client:
        client.settimeout(LOST)
        while (now := time.monotonic()) < by or len(answered) < asked:
            while asked - len(answered) < WINDOW and now < by:
                client.send(asked.to_bytes(NUMBERED))
                asked += 1
            try:
                answered.add(int.from_bytes(client.recv(NUMBERED)))
            except TimeoutError:
                break
    return {"requests": len(answered), "failed": asked - len(answered)}


def lives(contender: Contender, children: int, _seconds: float) -> dict[str, float]:
    """Spawn to ready, a child's death to all ready again, SIGTERM to nothing left. The floor only
    says what forking as many takes: a crash costs no less.
    """
    with running(contender, children) as server:
        start = server.ready_at - server.spawned_at
        if contender.side == "floor":
            return {"start": start, "again": float(server.wait_for(FORKED)[0][1])} | stopped(server)
        settle(server)
        victim = server.workers()[-1]
        again = took(lambda: (kill(victim, signal.SIGKILL), server.wait_for(READY.format(2))))
        return {"start": start, "again": again} | stopped(server)


def stopped(server: Running) -> dict[str, float]:
    return {"stop": server.stop()}
