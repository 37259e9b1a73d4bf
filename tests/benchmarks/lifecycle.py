"""How long a set of children takes to start, to stop, and to be there again after a crash."""

import os
import random
import signal
import time
from typing import NamedTuple

from tests.benchmarks.figures import Figure, Outcome, Skipped, difference, ratio
from tests.benchmarks.rounds import interleaved
from tests.benchmarks.servers import OURS_READY, Contender, Server, ServerDied, floor, ours

CRASH_SLACK = 0.010
# A generation that was ready for less than a second is followed by a back-off.
SETTLED = 1.1


class Life(NamedTuple):
    """Spawn to ready, SIGTERM to gone, and the CPU time that all processes took to get ready."""

    start: float
    stop: float
    cpu: float


def start_and_stop(a: Contender, b: Contender, *, children: int, rounds: int) -> list[Outcome]:
    """Whole lives, one after another. The CPU time tells more than the clock on a busy machine."""
    lives = interleaved(rounds, lambda: life(a, children), lambda: life(b, children))
    starts, stops, costs = ([[one[n] for one in side] for side in lives] for n in range(3))
    return [
        difference(f"start {children}", *starts, shown="{:+.3f} s", sense="<=", limit=0.20),
        difference(f"start {children}: CPU", *costs, shown="{:+.3f} s"),
        ratio(f"stop {children}", *stops, sense="<=", limit=2.0),
    ]


def life(contender: Contender, children: int) -> Life:
    with contender(children) as server:
        cpu = sum(server.cpu_seconds())
        return Life(server.ready_at - server.spawned_at, server.stop(), cpu)


def crash(*, children: int, rounds: int) -> Outcome:
    """SIGKILL of one child to all ready again, against the floor's forking of as many."""
    name = f"crash {children} (less 10 ms)"
    again: list[float] = []
    forked: list[float] = []
    with ours(children, restart="on-crash") as server:
        for generation in range(2, rounds + 2):
            with floor(children) as bare:
                forked.append(bare.forked_in)
            server.rest(SETTLED)
            try:
                again.append(time_to_ready_again(server, generation))
            except ServerDied as error:
                return Skipped(name=name, reason=f"no next generation: {error.last_words}")
    samples = [(a - CRASH_SLACK) / f for a, f in zip(again, forked, strict=True)]
    return Figure(
        name=name, samples=samples, ours=again, floor=forked, raw="{:.4f} s", sense="<=", limit=2.0
    )


def time_to_ready_again(server: Server, generation: int) -> float:
    victim = random.choice(server.children())
    killed_at = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    _, ready_at = server.wait_for(OURS_READY.format(generation=generation))
    return ready_at - killed_at
