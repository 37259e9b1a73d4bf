"""The answers and failures that clients see while workers are killed, under a steady load or beside
long requests; and how long it takes until all workers are there again.
"""

import random
import select
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from os import kill
from typing import Final, NamedTuple

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.benchmarks.contenders import Contender
from tests.benchmarks.measures.lives import requests_begun, was_answered
from tests.benchmarks.running import PATIENCE, REQUEST, Running, answer_from, is_good, running
from tests.support.harness import supervisor

CLIENTS: Final = 4
INTERVAL: Final = 0.01  # s between two requests of one client, if the first was answered by then
CATCH_UP: Final = 0.1  # s that a client may be late without leaving a request out
AFTERWARDS: Final = 1.0  # s
GIVE_UP: Final = 8.0  # s for one request
# Who was ready for less than ten times what its start took is followed after a pause.
SHARE: Final = 10
SETTLED: Final = 1.1  # s
READY: Final = r"server ready .*generation={} .*after=([\d.]+)s"
FORKED: Final = r"ready forked_in=([\d.]+)"
CUT_SHORT: Final = 1006  # RFC 6455, 7.1.5: no close frame came
LAST_ROW: Final = r"^ *web +{} +\d+ .*$"  # the table of SIGUSR1 ends with the last slot


class Seen(NamedTuple):
    """The answers to one client: when the good ones came (monotonic s), how many failed of what."""

    good: list[float]
    slowest: float
    failed: Counter[str]


def crash(contender: Contender, children: int, seconds: float, *, every: float) -> dict[str, float]:
    """SIGKILL one worker after another under a steady load; what came back of the requests.

    `answered`: % of what was to be asked at the steady rate. Who waits for an answer asks nothing
    else meanwhile, so a server that stands still loses these too.
    """
    with running(contender, children) as server, ThreadPoolExecutor(CLIENTS) as clients:
        began_at, lasts = time.monotonic(), seconds + AFTERWARDS
        asked = [clients.submit(ask_steadily, server.port, lasts) for _ in range(CLIENTS)]
        kills = sum(kill_one_after(server, every) for _ in range(round(seconds / every)))
        server.hear_for(AFTERWARDS)
        seen = [one.result() for one in asked]
        failed = sum((one.failed for one in seen), Counter[str]())
        good = sorted(at for one in seen for at in one.good)
        return {
            "kills": kills,
            "answered": min(100.0, 100 * len(good) / (CLIENTS * lasts / INTERVAL)),
            "refused": failed["refused"],
            "broken": failed["broken"] + failed["late"],
            "gap": longest_gap([began_at, *good, began_at + lasts]),
            "gone": float(server.has_ended),
        }


def kill_one_after(server: Running, seconds: float) -> bool:
    """Wait, and kill any worker; tell whether there was one."""
    server.hear_for(seconds)
    if workers := server.workers():
        kill(random.choice(workers), signal.SIGKILL)
    return bool(workers)


def longest_gap(moments: list[float]) -> float:
    return max(b - a for a, b in pairwise(moments))


def in_hand(contender: Contender, children: int, seconds: float) -> dict[str, float]:
    """SIGKILL of an idle child while others have a request of 6 s, a stream, and under asgi a
    WebSocket in hand.

    `first` and `slowest`: what fresh requests wait, the one that is sent at once and the worst of
    so many seconds, each on a connection of its own. `cut`: how many of the long ones broke off;
    a WebSocket is closed by a code, 0 if it stayed open.
    """
    with running(contender, children) as server, ThreadPoolExecutor(3) as clients:
        settle(server)
        long = clients.submit(answer_from, server.port, b"/long")
        stream = clients.submit(streams_until, server.port, long)
        sockets = [clients.submit(websocket_until, server.port, long)] * has_sockets(contender)
        began = requests_begun(server, 2 + len(sockets), GIVE_UP)
        assert began == 2 + len(sockets), "the long ones did not begin"
        kill(random.choice(idle_of(server)), signal.SIGKILL)
        asked_at = time.monotonic()
        seen = ask_steadily(server.port, seconds)
        first = seen.good[0] - asked_at if seen.good else GIVE_UP
        codes = [float(one.result()) for one in sockets]
        cut = (not was_answered(long)) + (not stream.result()) + codes.count(CUT_SHORT)
        facts = {"first": first, "slowest": seen.slowest, "cut": cut}
        return facts | {"failed": seen.failed.total()} | ({"code": codes[0]} if codes else {})


def settle(server: Running) -> None:
    """Wait until a crash would be followed without a pause."""
    start = server.ready_at - server.spawned_at
    server.hear_for(min(max(SETTLED, SHARE * start), PATIENCE))


def has_sockets(contender: Contender) -> bool:
    return contender.family == "asgi"


def idle_of(server: Running) -> list[int]:
    """The children that have begun nothing."""
    idle = sorted(set(server.workers()) - server.told("begun"))
    assert idle, "no child is idle"
    return idle


def websocket_until(port: int, other: Future[bytes]) -> int:
    """Hold a WebSocket until the other one is done; the code that it was closed with meanwhile, 0
    if it was not.
    """
    with connect(f"ws://127.0.0.1:{port}/", open_timeout=GIVE_UP, compression=None) as held:
        try:
            while not other.done():
                with suppress(TimeoutError):
                    held.recv(INTERVAL)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else CUT_SHORT
    return 0


def streams_until(port: int, other: Future[bytes]) -> bool:
    """Read a stream until the other one is done; tell whether events came for so long."""
    with socket.create_connection(("127.0.0.1", port), GIVE_UP) as connection:
        connection.sendall(REQUEST % b"/stream")
        with suppress(OSError):  # broken off, which is as bad as an end
            while connection.recv(65536):
                if other.done():
                    return True
    return False


def ask_steadily(port: int, seconds: float) -> Seen:
    """A request on a connection of its own every INTERVAL, for so long."""
    good, failed, slowest = [], Counter[str](), 0.0
    ends_at = (next_at := time.monotonic()) + seconds
    while (began_at := time.monotonic()) < ends_at:
        if began_at < next_at:
            select.select([], [], [], next_at - began_at)  # a rate has no event but the clock
            began_at = time.monotonic()
        next_at = max(next_at + INTERVAL, began_at - CATCH_UP)
        outcome, done_at = outcome_of(port), time.monotonic()
        slowest = max(slowest, done_at - began_at)
        if outcome == "good":
            good.append(done_at)
        else:
            failed[outcome] += 1
    return Seen(good, slowest, failed)


def outcome_of(port: int) -> str:
    """`good`; `refused`; `broken` off, by a reset or an answer that is none; `late`."""
    try:
        return "good" if is_good(answer_from(port, timeout=GIVE_UP)) else "broken"
    except ConnectionRefusedError:
        return "refused"
    except ConnectionError:
        return "broken"
    except TimeoutError:
        return "late"


def again(contender: Contender, children: int, _seconds: float) -> dict[str, float]:
    """SIGUSR1 to its table, `stats --json`, a child's death to all ready again.

    The floor only says what forking as many takes: a crash costs no less.
    """
    with running(contender, children) as server:
        if contender.side == "floor":
            return {"again": float(server.wait_for(FORKED)[0][1])}
        row = LAST_ROW.format(children - 1)
        table = took(lambda: (server.signal(signal.SIGUSR1), server.wait_for(row)))
        stats = took(lambda: supervisor("stats", "--json", "-c", str(server.config)))
        started_in = float(server.wait_for(READY.format(1))[0][1])
        server.hear_for(min(max(SETTLED, SHARE * started_in), PATIENCE))
        victim = random.choice(server.workers())
        ready = took(lambda: (kill(victim, signal.SIGKILL), server.wait_for(READY.format(2))))
        return {"usr1": table, "stats": stats, "again": ready}


def took(act: Callable[[], object]) -> float:
    """Seconds."""
    began_at = time.monotonic()
    act()
    return time.monotonic() - began_at
