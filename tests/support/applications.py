"""Shared by the tests of the application types: their sections, and a client with a memory."""

from __future__ import annotations

import http.client
import re
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
# Those of granian; the sections with `http = "2"` are asked in HTTP/2, without TLS.
GRANIAN: dict[str, dict[str, Any]] = {
    "rsgi": ENGINES["rsgi"],
    "wsgi-2": {**ENGINES["wsgi"], "http": "2"},
    "asgi-2": {**ENGINES["asgi"], "http": "2"},
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


def question(kind: str, path: str = "/") -> bytes:
    """Return a request in the version that the kind of section speaks; it is the last."""
    if not kind.endswith("-2"):
        return f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    # Preface, empty SETTINGS, HEADERS of stream 1 (RFC 9113, 3.4; RFC 7541, appendix A).
    block = b"\x82\x86\x41\x01x\x04" + bytes([len(path)]) + path.encode()
    head = len(block).to_bytes(3) + b"\x01\x05\0\0\0\x01"
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0" + head + block


def is_answer(received: bytes, status: int = 200) -> bool:
    """Tell whether these bytes begin, or hold, an answer of that status, of either version."""
    if received.startswith(b"HTTP/1.1 %d" % status):
        return True
    index = {200: 8, 404: 13, 500: 14}.get(status)  # in the static table of HPACK
    if index is None:
        return b"%d " % status in received  # the body of an answer that is not the application's
    head = rb"\x01.\0\0\0\x01(?:\x20|[\x3f].{1,3})?" + re.escape(bytes([0x80 | index]))
    return re.search(head, received, re.DOTALL) is not None
