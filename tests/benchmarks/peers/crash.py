"""What clients see while one worker after another is killed."""

import itertools
import random
import select
import signal
import time
from collections import Counter
from multiprocessing.connection import Connection
from os import kill
from typing import NamedTuple

from tests.benchmarks.load import clients
from tests.benchmarks.peers.contenders import Contender
from tests.benchmarks.peers.running import Peer, answer_from, is_good, running
from tests.benchmarks.servers import DEADLINE

CLIENTS = 4
INTERVAL = 0.01  # s between two requests of one client, if the first has been answered by then
AFTERWARDS = 1.0  # s
GIVE_UP = 5.0  # s for one request


class Seen(NamedTuple):
    """What one client saw: when the good answers came (monotonic s), how often what went wrong."""

    good: list[float]
    failed: Counter[str]


def every_second(contender: Contender, children: int, seconds: float) -> dict[str, float]:
    return crash(contender, children, seconds, every=1.0)


def every_other_second(contender: Contender, children: int, seconds: float) -> dict[str, float]:
    return crash(contender, children, seconds, every=2.0)


def crash(contender: Contender, children: int, seconds: float, *, every: float) -> dict[str, float]:
    """SIGKILL one worker after another under a steady load; what came back of the requests."""
    with clients(CLIENTS, ask_steadily) as controls, running(contender, children) as peer:
        began_at, lasts = time.monotonic(), seconds + AFTERWARDS
        for control in controls:
            control.send((peer.port, lasts))
        kills = kill_workers(peer, int(seconds / every), every)
        seen = [seen_by(control) for control in controls]
        failed = sum((one.failed for one in seen), Counter[str]())
        good = sorted(at for one in seen for at in one.good)
        return {
            "kills": kills,
            "good": len(good),
            "refused": failed["refused"],
            "broken": failed["broken"] + failed["late"],
            "gap": longest_gap([began_at, *good, began_at + lasts]),
            "gone": float(peer.has_ended),
        }


def kill_workers(peer: Peer, times: int, every: float) -> int:
    """Kill any worker, wait, again; returns how many there were to kill."""
    kills = 0
    for _ in range(times):
        peer.hear_for(every)
        if workers := peer.workers():
            kill(random.choice(workers), signal.SIGKILL)
            kills += 1
    peer.hear_for(AFTERWARDS)
    return kills


def seen_by(control: Connection) -> Seen:
    assert control.poll(DEADLINE), "a client is stuck"
    seen = control.recv()
    assert isinstance(seen, Seen)
    return seen


def longest_gap(moments: list[float]) -> float:
    return max(b - a for a, b in itertools.pairwise(moments))


def ask_steadily(port: int, seconds: float) -> Seen:
    """In a client: a request on a connection of its own every INTERVAL, for so long."""
    seen = Seen([], Counter())
    ends_at = (next_at := time.monotonic()) + seconds
    while (now := time.monotonic()) < ends_at:
        if now < next_at:
            select.select([], [], [], next_at - now)  # a fixed rate has no event but the clock
        next_at = max(next_at, now) + INTERVAL
        outcome = outcome_of(port)
        if outcome == "good":
            seen.good.append(time.monotonic())
        else:
            seen.failed[outcome] += 1
    return seen


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
