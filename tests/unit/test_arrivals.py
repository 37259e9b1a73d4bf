"""How a child takes what comes in: from which listener, how many in a row, and until when."""

import contextlib
import itertools
import os
import resource
import signal
import socket
from pathlib import Path

import pytest

from supervisor.child.arrivals import Arrivals, ending
from supervisor.child.order import Order
from supervisor.config.address import Listen, parse_address
from supervisor.system import descriptors
from supervisor.system.descriptors import is_readable
from supervisor.system.listeners import open_listener
from tests.support.scoreboards import board

EPOLLEXCLUSIVE = 1 << 28  # sys/epoll.h


class Orders(Order):
    """An order whose waits are noted instead of waited, each with an act of the test's."""

    def __init__(self, recorder, act):
        super().__init__(recorder)
        self.waits = []
        self._act = act

    def wait(self, timeout, *descriptors):
        self.waits.append(timeout)
        self._act(self)


@pytest.fixture
def listeners(tmp_path):
    """Two listeners on unix sockets: whoever has connected there waits in the queue at once."""
    listens = [Listen(parse_address(f"unix://{tmp_path}/{name}")) for name in "ab"]
    made = [open_listener(listen, 128) for listen in listens]
    yield made
    for one in made:
        one.release()


@pytest.fixture
def scoreboard(tmp_path):
    """A scoreboard, whose header says how the server ends."""
    with contextlib.closing(board(tmp_path)) as made:
        yield made


@pytest.fixture
def connect(closing):
    """Leave clients waiting in a listener's queue."""

    def leave(listener, count=1):
        for _ in range(count):
            client = closing.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(listener.address.path)

    return leave


@pytest.fixture
def few_descriptors():
    """Leave this process room for so many connections; returns their largest number."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def limit(count):
        # epoll takes one, 32 are kept for everything else.
        largest = descriptors.lowest_free() + count
        resource.setrlimit(resource.RLIMIT_NOFILE, (largest + 1 + 32, before[1]))
        return largest

    yield limit
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def nothing():
    return ()


def never():
    raise AssertionError("asked for the ending listeners before the order to stop")


def ways(arrivals):
    """Yield the path of the listener of each connection, and close the connection."""
    for connection, _peer in arrivals.connections():
        with connection:
            yield connection.getsockname()


def test_listeners_that_have_something_are_ready(listeners, order, recorder, connect):
    """Again and again, as long as it is not accepted; the others are not."""
    ready = Arrivals(listeners, order, recorder, never).ready()
    connect(listeners[1])
    assert [next(ready), next(ready)] == [listeners[1]] * 2
    listeners[1].accept()[0].close()
    connect(listeners[0])
    assert next(ready) is listeners[0]


def test_a_signal_that_is_no_order_is_passed_over(listeners, order, recorder, connect):
    """Its byte is taken, or the wait would end at once for ever."""
    ready = Arrivals(listeners, order, recorder, never).ready()
    connect(listeners[0])
    recorder.watch(signal.SIGUSR2)
    signal.raise_signal(signal.SIGUSR2)
    for _ in range(2):  # where the signal came first in the kernel's list, and where it did not
        assert next(ready) is listeners[0]
    assert not is_readable(recorder.fileno())
    assert recorder.take() == [signal.SIGUSR2]


def test_one_child_is_woken_and_the_loop_closes_what_it_opened(listeners, order, recorder, connect):
    """The kernel is asked to wake one of those that wait for a listener; all for a signal, which
    is this child's own (epoll_ctl(2), proc(5) fdinfo).
    """
    free = descriptors.lowest_free()
    ready = Arrivals(listeners, order, recorder, never).ready()
    connect(listeners[0])
    before = descriptors.lowest_free()
    next(ready)
    watched = {}
    for line in Path(f"/proc/self/fdinfo/{before}").read_text().splitlines():
        if line.startswith("tfd:"):
            words = line.split()
            watched[int(words[1])] = int(words[3], 16) & EPOLLEXCLUSIVE
    assert watched == {
        recorder.fileno(): 0,
        **{one.fileno(): EPOLLEXCLUSIVE for one in listeners},
    }
    ready.close()
    assert free < before == descriptors.lowest_free()


def test_what_came_with_the_order_is_taken(listeners, order, recorder, connect):
    """Once from each listener: no other child was woken for it. What waits behind it is another
    child's, or the next generation's.
    """
    connections = ways(Arrivals(listeners, order, recorder, nothing))
    for listener in listeners:
        connect(listener, 2)
    first = next(connections)
    order.give(signal.SIGTERM)
    (second,) = connections
    assert {first, second} == {one.address.path for one in listeners}
    assert all(one.has_waiting() for one in listeners)


def test_what_waits_where_nobody_serves_after_us_is_served(listeners, order, recorder, connect):
    """Of the listeners that end with us, until their queues are empty; of no others."""
    asked = []

    def ending():
        asked.append(order.signum)
        return listeners[:1]

    connect(listeners[0], 3)
    connect(listeners[1])
    arrivals = Arrivals(listeners, order, recorder, ending)
    order.give(signal.SIGTERM)
    assert list(ways(arrivals)) == [listeners[0].address.path] * 3
    assert asked == [signal.SIGTERM]
    assert listeners[1].has_waiting()


def test_connections_come_with_their_peer(listeners, order, recorder, closing):
    """Blocking, for a handler that knows nothing of loops."""
    client = closing.enter_context(socket.socket(socket.AF_UNIX))
    client.bind(f"\0test-arrivals-{os.getpid()}")
    client.connect(listeners[0].address.path)
    connection, peer = next(Arrivals(listeners, order, recorder, never).connections())
    closing.enter_context(connection)
    assert connection.getblocking()
    assert peer == client.getsockname()


def test_no_listener_keeps_the_others_waiting(listeners, order, recorder, connect):
    """After 64 connections of one the others are looked at."""
    for listener in listeners:
        connect(listener, 65)
    taken = itertools.islice(ways(Arrivals(listeners, order, recorder, never)), 130)
    assert [len(list(row)) for _way, row in itertools.groupby(taken)] == [64, 64, 1, 1]


def test_no_connection_is_taken_after_the_order(listeners, order, recorder, connect):
    """Nor from the listener whose connections came in a row."""
    connect(listeners[0], 3)
    connections = ways(Arrivals(listeners, order, recorder, nothing))
    next(connections)
    order.give(signal.SIGTERM)
    assert list(connections) == []
    assert listeners[0].has_waiting()


def test_a_child_with_few_descriptors_takes_no_more(
    listeners, recorder, connect, closing, few_descriptors
):
    """Until it has closed one; the kernel gives the lowest number that is free."""
    held = []
    order = Orders(recorder, lambda order: len(order.waits) == 2 and held.pop(0).close())
    connect(listeners[0], 4)
    largest = few_descriptors(3)
    connections = Arrivals(listeners, order, recorder, never).connections()
    for _ in range(3):
        assert order.waits == []
        held.append(closing.enter_context(next(connections)[0]))
    assert descriptors.lowest_free() > largest
    assert closing.enter_context(next(connections)[0]).fileno() <= largest
    assert order.waits == [0.1, 0.1]


def test_a_child_with_few_descriptors_hears_the_order(
    listeners, recorder, connect, closing, few_descriptors
):
    """While it waits for one to be closed."""
    order = Orders(recorder, lambda order: order.give(signal.SIGTERM))
    order.begin()
    connect(listeners[0], 2)
    few_descriptors(1)
    connections = Arrivals(listeners, order, recorder, nothing).connections()
    closing.enter_context(next(connections)[0])
    assert list(connections) == []
    assert len(order.waits) == 1
    assert listeners[0].has_waiting()


def test_queues_that_end_with_the_server(listeners, scoreboard):
    """Those of its own streams, behind a closed door: an inherited one has another owner."""
    listeners[0].inherited = True
    datagrams = open_listener(Listen(parse_address("udp://127.0.0.1:0")), 1)
    scoreboard.close_door()
    found = ending([*listeners, datagrams], scoreboard, is_orphan=False)
    datagrams.release()
    assert found == [listeners[1]]
    assert [one.door_closed for one in (*listeners, datagrams)] == [False, True, False]


@pytest.mark.parametrize("is_orphan", [False, True])
def test_queues_that_another_master_serves(listeners, scoreboard, is_orphan):
    """Are left to it, whatever else is said of the door, and the door stays open."""
    scoreboard.close_door()
    scoreboard.set_shared(True)
    assert ending(listeners, scoreboard, is_orphan=is_orphan) == []
    assert not any(one.door_closed for one in listeners)
    assert os.path.exists(listeners[0].address.path)


def test_queues_that_the_next_generation_serves(listeners, scoreboard):
    """Are left to it: the door was not closed."""
    assert ending(listeners, scoreboard, is_orphan=False) == []
    assert not any(one.door_closed for one in listeners)


def test_queues_of_an_orphan(listeners, scoreboard):
    """It closes the door itself: nobody else does, and nobody serves after it."""
    assert ending(listeners, scoreboard, is_orphan=True) == listeners
    assert all(one.door_closed for one in listeners)
    assert not any(os.path.exists(one.address.path) for one in listeners)
