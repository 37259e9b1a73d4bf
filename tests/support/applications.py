"""What the tests of the application types share: their sections, and a client with a memory."""

from __future__ import annotations

import http.client
import socket
from typing import Any

from tests.support.clients import dial, endpoint
from tests.support.configs import table
from tests.support.harness import DEADLINE, Server

# Interface and what else the section says: each engine of each type.
ENGINES: dict[str, dict[str, Any]] = {
    "wsgi": {"type": "wsgi", "app": "applications:wsgi"},
    "asgi": {"type": "asgi", "app": "applications:asgi"},
    "rsgi": {"type": "rsgi", "app": "applications:rsgi"},
}


def section(engine: str, /, **values: object) -> str:
    """Return a section of two children on any port."""
    common = {"listen": ["tcp://127.0.0.1:0"], "children": 2}
    return table("workers.web", **(common | ENGINES[engine] | values))


def get(server: Server, path: str = "/", method: str = "GET", **options: Any) -> tuple[int, bytes]:
    """Return status and body of one request on a connection of its own."""
    connection = http.client.HTTPConnection(*endpoint(server.address()), timeout=DEADLINE)
    try:
        connection.request(method, path, **options)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def asked(server: Server, path: str) -> socket.socket:
    """Return a connection on which a request has been sent."""
    connection = dial(server)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
    return connection


def kept(server: Server) -> socket.socket:
    """Return an idle connection that has been used and is kept alive."""
    connection = asked(server, "/")
    received = b""
    while b"hello" not in received:
        received += connection.recv(65536)
    return connection
