"""A worker that answers with the cost of the statistics for a request; it does nothing else."""

import time
import timeit
from collections.abc import Callable
from contextlib import nullcontext

from supervisor import Child, Worker

REQUESTS = 5_000


class Sampler(Worker):
    """Answers each connection with microseconds: `with child.request()`, a context for nothing."""

    needs_listener = True

    def run(self, child: Child) -> None:
        for connection, _ in child.connections():
            with connection:
                connection.sendall(f"{cost(child.request)} {cost(nullcontext)}".encode())


def cost(context: Callable[[], object]) -> float:
    """Microseconds of CPU time for one pass, without the empty loop; others do not show in it."""
    clock = time.process_time
    request = timeit.Timer("with context(): pass", "", clock, {"context": context})
    nothing = timeit.Timer("pass", timer=clock)
    return (request.timeit(REQUESTS) - nothing.timeit(REQUESTS)) / REQUESTS * 1e6
