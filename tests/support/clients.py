"""The other side of the integration tests: plain sockets, each wait bounded by the one deadline."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from tests.support.harness import DEADLINE, Server


def endpoint(address: str) -> tuple[str, int]:
    """Return host and port of `tcp://HOST:PORT`, `udp://[::1]:PORT`."""
    host, _, port = address.partition("://")[2].rpartition(":")
    return host.strip("[]"), int(port)


def connect(address: str) -> socket.socket:
    """Return a socket connected to an address as the log and the statistics write it."""
    scheme = address.partition("://")[0]
    kind = socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM
    target: Any = address.partition("://")[2] if scheme == "unix" else endpoint(address)
    family = socket.AF_INET6 if "[" in address else socket.AF_INET
    connection = socket.socket(socket.AF_UNIX if scheme == "unix" else family, kind)
    connection.settimeout(DEADLINE)
    try:
        connection.connect(target)
    except OSError:
        connection.close()
        raise
    return connection


def dial(server: Server, section: str = "web", index: int = 0) -> socket.socket:
    """Return a socket connected to a listener of the section; the server's fixture closes it."""
    connection = connect(server.address(section, index))
    server.connections.append(connection)
    return connection


def line(connection: socket.socket) -> str:
    """Return the next line that the other side sends; what follows it stays in the socket."""
    received = b""
    while not received.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            raise AssertionError(f"the connection ended after {received!r}")
        received += byte
    return received.decode().rstrip("\n")


def rest(connection: socket.socket) -> bytes:
    """Return everything up to the end of the connection, and close it."""
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


def finish(connection: socket.socket) -> None:
    """Say that no more will come; the other side may have ended the connection already."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)


def ask(server: Server, data: bytes = b"", section: str = "web", index: int = 0) -> bytes:
    """Send data, if any, on a fresh connection, and return the whole answer."""
    connection = dial(server, section, index)
    if data:
        connection.sendall(data)
        finish(connection)
    return rest(connection)
