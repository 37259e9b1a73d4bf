"""When a request counts as slow, so that kept connections are spread over the children."""

import select
import time
from types import SimpleNamespace

import pytest

from supervisor.scoreboard.layout import H_DRAINING, SLOW_UNTIL
from supervisor.workers.web.calls import Service

SOON = 20_000_000  # ns
LONG = 200_000_000


class Block:
    """The words that the children of a section share."""

    def __init__(self):
        self.words = {SLOW_UNTIL: 0}
        self.header = {H_DRAINING: 0}

    def be_slow_until(self, instant):
        self.words[SLOW_UNTIL] = instant


@pytest.fixture
def service():
    """A service of a child that serves from its main thread."""
    served = SimpleNamespace(lock=None)
    return Service(SimpleNamespace(served=served, block=Block()))


def is_spread(service, now, elapsed):
    """Whether the answer to a request that took so long ends its connection."""
    http = SimpleNamespace(last=False)
    assert service.date(http, now, elapsed).startswith(b"Date: ")
    return http.last


def test_the_end_of_the_server_spreads_too(service):
    """While the server is about to stop, each answer ends its connection."""
    service.child.block.header[H_DRAINING] = 1
    assert is_spread(service, 10**9, 5)


def test_a_long_one_counts_at_once(service):
    """Nobody waits so long for a processor; a second later it is forgotten."""
    assert is_spread(service, 10**9, LONG)
    assert is_spread(service, 10**9 + 5, 5)
    assert not is_spread(service, 3 * 10**9, 5)


def test_one_that_waited(service):
    """After a first suspicion, the next that waits, or computes, counts."""
    now = time.monotonic_ns()
    assert not is_spread(service, now, SOON)
    assert service.is_wary
    service.mark(now)
    select.select([], [], [], 0.001)  # a request that waits for something
    assert is_spread(service, now, SOON)


def test_one_that_computed(service):
    """Neither is the time its own that others had the processor."""
    now = time.monotonic_ns()
    assert not is_spread(service, now, SOON)
    service.mark(now)
    begun = time.thread_time()
    while time.thread_time() - begun < 0.011:
        pass
    assert is_spread(service, now, SOON)


def test_a_child_that_is_told_nothing_suspicious(service):
    """A second without suspicion ends the watch."""
    is_spread(service, 10**9, SOON)
    service.mark(3 * 10**9)
    assert not service.is_wary
