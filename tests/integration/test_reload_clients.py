"""Clients of a server that is reloaded: streams, WebSockets, one who comes alone; and what many
reloads leave behind, which is nothing.
"""

import contextlib
import os
import re
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as open_websocket

from tests.support.applications import ENGINES, asked, get, section
from tests.support.clients import connect, endpoint, rest
from tests.support.configs import web
from tests.support.harness import DEADLINE

GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
SECTIONS = {"tcp": (web("handlers:hello"), b""), **{e: (section(e), GET) for e in ENGINES}}


def reload(server):
    """Reload, which has to succeed."""
    done = server.command("reload")
    assert (done.returncode, done.stderr) == (0, ""), done


def test_websockets_and_streams(serve):
    """A WebSocket gets 1012 at once, and its client comes back to the new server; a stream goes on
    until shortly before stop_timeout, is told, and ends whole.
    """
    text = section("asgi", app="asgi_streams:app")
    server = serve(text, master={"stop_timeout": 4.0})
    address = "ws://{}:{}/".format(*endpoint(server.address()))
    with open_websocket(address, close_timeout=DEADLINE) as websocket:
        websocket.send("one")
        assert websocket.recv(DEADLINE) == "one"
        stream = asked(server, "/events")
        server.wait_for("stream begun")
        reload(server)
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(DEADLINE)
    assert closed.value.rcvd.code == 1012
    with open_websocket(address, close_timeout=DEADLINE) as websocket:
        assert "stream told" not in server.log
        assert get(server) == (200, b"hello")
        websocket.send("two")
        assert websocket.recv(DEADLINE) == "two"
        answer = rest(stream)
        assert b"data: 1\n\n" in answer
        assert answer.endswith(b"data: last\n\n\r\n0\r\n\r\n")
        server.wait_for("stream told", "generation gone generation=1")
        websocket.send("three")
        assert websocket.recv(DEADLINE) == "three"
    assert server.stop() == -signal.SIGTERM
    assert "Traceback" not in server.log


@pytest.mark.parametrize("kind", SECTIONS)
def test_who_comes_alone_does_not_wait_for_the_next(serve, kind):
    """One connection at a time: no child is told to stop with a connection that only it was woken
    for, which would wait until the next one comes.
    """
    text, request = SECTIONS[kind]
    server = serve(text)
    failed, answered, ended = [], [], threading.Event()

    def ask_again():
        while not ended.is_set():
            try:
                connection = connect(server.address())
                connection.sendall(request)
                assert rest(connection).startswith((b"hello", b"HTTP/1.1 200"))
                answered.append(True)
            except Exception as error:
                failed.append(repr(error))

    client = threading.Thread(target=ask_again)
    client.start()
    try:
        for _ in range(3):
            reload(server)
    finally:
        ended.set()
        client.join(DEADLINE + 1)
    assert failed == []
    assert answered
    assert server.stop() == -signal.SIGTERM


def held(pid):
    """Return how many descriptors of which kind a process has."""
    found = Counter()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found[re.sub(r"\d+", "N", os.readlink(one))] += 1
    return found


def test_nothing_piles_up(serve, tmp_path):
    """After ten reloads a master has the descriptors of the one after the first, and the runtime
    directory as many files.
    """
    server = serve(web() + section("wsgi").replace(".web]", ".app]"))
    facts = []
    for number in range(1, 11):
        reload(server)
        server.wait_for(f"generation gone generation={number}$")
        pid = server.stats()["pid"]
        names = sorted(re.sub(r"\d+", "N", one.name) for one in server.runtime.iterdir())
        facts.append((held(pid), names))
    assert facts[-1] == facts[0]
    assert server.stop() == -signal.SIGTERM
