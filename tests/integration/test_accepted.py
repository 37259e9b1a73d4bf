"""A child of another section dies: what the children of this one have accepted is answered.

Clients connect anew for each request, all the time. A connection that the kernel has made must get
its answer, whenever in its short life the children that are no part of the crash are told to stop.
"""

import os
import signal
import threading

import pytest

from tests.support.applications import ENGINES, GRANIAN, is_answer, question
from tests.support.clients import connect
from tests.support.configs import table, web

KILLS = 8
CLIENTS = 4
AFTER = 20  # answers between two kills

KINDS = {
    "wsgi": ENGINES["wsgi"],
    "wsgi-closed": {**ENGINES["wsgi"], "keep_alive": 0.0},
    "asgi": ENGINES["asgi"],
    **GRANIAN,
}


class Crowd:
    """Clients, each of which asks on one fresh connection after another until `stop`, or until
    nobody listens any more. `lost` tells what came instead of an answer.
    """

    def __init__(self, server, question):
        self.lost = []
        self.refused = []
        self._server = server
        self._question = question
        self._answered = 0
        self._is_over = False
        self._news = threading.Condition()
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]
        for one in self._threads:
            one.start()

    def wait(self, count):
        """Return when so many more are answered, or all clients have ended."""
        with self._news:
            goal = self._answered + count
            self._news.wait_for(lambda: self._answered >= goal)

    def join(self):
        """Return how many were answered, once all clients have ended."""
        for one in self._threads:
            one.join()
        return self._answered

    def stop(self):
        """Ask no more."""
        self._is_over = True
        return self.join()

    def _run(self):
        while not self._is_over:
            try:
                connection = connect(self._server.address())
            except OSError as error:
                self.refused.append(error)
                return
            with connection:
                self._ask(connection)

    def _ask(self, connection):
        received = b""
        try:
            connection.sendall(self._question)
            while not is_answer(received) and (data := connection.recv(65536)):
                received += data
        except OSError as error:
            received = repr(error).encode()
        if not is_answer(received):
            self.lost.append(received)
        with self._news:
            self._answered += 1
            self._news.notify_all()


@pytest.fixture
def crowded(serve):
    """Start a server of a kind, with a child in another section, and the clients."""

    def start(kind, **master):
        values = {"listen": ["tcp://127.0.0.1:0"], "children": 4, **KINDS[kind]}
        server = serve(
            table("workers.web", **values) + web(name="other", children=1), master=master
        )
        return server, Crowd(server, question(kind))

    return start


def kill_the_other(server):
    """Kill the child of the other section, of the newest generation."""
    children = server.stats()["children"]
    os.kill(next(one["pid"] for one in children if one["worker"] == "other"), signal.SIGKILL)


@pytest.mark.parametrize("kind", KINDS)
def test_a_next_generation_follows(crowded, kind):
    """Eight times the next one serves beside what ends: nobody is refused, everybody answered."""
    server, crowd = crowded(kind, restart="on-crash")
    for generation in range(2, KILLS + 2):
        crowd.wait(AFTER)
        kill_the_other(server)
        server.wait_for(rf"server ready .*generation={generation}\b")
    crowd.wait(AFTER)
    assert crowd.stop() > KILLS * AFTER
    assert (crowd.lost, crowd.refused) == ([], [])
    assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_follows(crowded, kind):
    """The server ends, eight times: who has a connection has an answer, who has none is refused."""
    for _ in range(KILLS):
        server, crowd = crowded(kind)
        crowd.wait(AFTER)
        kill_the_other(server)
        assert crowd.join() >= AFTER
        assert crowd.lost == []
        assert len(crowd.refused) == CLIENTS
        assert server.wait() == 70
