"""What the statistics cost a request: `with child.request()` in a child that does nothing else.

The child is a worker of the server's own public interface; it takes a sample whenever one connects.
"""

import socket
import time
import timeit
from collections.abc import Callable
from contextlib import ExitStack

from supervisor import Child, Worker
from tests.benchmarks.figures import Figure, Outcome, difference
from tests.benchmarks.rounds import interleaved
from tests.benchmarks.servers import DEADLINE, Server, ours

REQUESTS = 5_000
MICROSECONDS = "{:.2f} us"
SECTION = """\
type = "tests.benchmarks.cost:Sampler"
request_timeout = {timeout}
"""


class Bare:
    """A context that does nothing: the floor, and a measure of how fast the machine is just now."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


class Sampler(Worker):
    """Tells every client what a request costs, and what the bare context does; then closes."""

    needs_listener = True

    def run(self, child: Child) -> None:
        for listener in child.wait():
            if accepted := listener.accept():
                with accepted[0] as connection:
                    connection.sendall(f"{cost(child.request)} {cost(Bare)}".encode())


def cost(context: Callable[[], object]) -> float:
    """Microseconds of CPU time for one pass; the empty loop around it is left out."""
    request = timeit.Timer("with context(): pass", globals={"context": context}, timer=clock)
    nothing = timeit.Timer("pass", timer=clock)
    return (request.timeit(REQUESTS) - nothing.timeit(REQUESTS)) / REQUESTS * 1e6


def clock() -> float:
    """CPU time of this process: others on the machine do not show in it."""
    return time.process_time()


def statistics(*, rounds: int) -> list[Outcome]:
    """Without a deadline against the bare context, and with one against without."""
    with ExitStack() as stack:
        plain, timed = (
            stack.enter_context(ours(1, section=SECTION.format(timeout=timeout)))
            for timeout in (0.0, 60.0)
        )
        with_deadline, without = interleaved(
            rounds, lambda: sample_from(timed), lambda: sample_from(plain)
        )
    bare = [floor for _, floor in without]
    timed_costs = [request for request, _ in with_deadline]
    plain_costs = [request for request, _ in without]
    return [
        Figure(
            name="statistics",
            samples=plain_costs,
            ours=plain_costs,
            floor=bare,
            least=min(plain_costs),
            raw=MICROSECONDS,
            shown=MICROSECONDS,
            sense="<=",
            limit=1.5,
        ),
        difference(
            "request deadline",
            timed_costs,
            plain_costs,
            least=min(timed_costs) - min(plain_costs),
            raw=MICROSECONDS,
            shown=MICROSECONDS,
            sense="<=",
            limit=3.0,
        ),
    ]


def sample_from(server: Server) -> tuple[float, float]:
    """Microseconds: a request, the bare context."""
    with socket.create_connection(server.address, timeout=DEADLINE) as connection:
        request, bare = connection.makefile().read().split()
    return float(request), float(bare)
