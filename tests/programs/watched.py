"""Subjects for statistics: a worker that names its requests, a handler of known slowness."""

import socket
import time
from typing import Any

from supervisor import Child, Worker


class Named(Worker):
    """Says that a request is in hand, by the name `GET /cart`, and ends it at a byte."""

    def run(self, child: Child) -> None:
        for connection, _address in child.connections():
            with connection, child.request("GET /cart"):
                connection.sendall(b"taken\n")
                connection.recv(1)


def slow(connection: socket.socket, address: Any) -> None:
    """Take as many milliseconds as the client says."""
    time.sleep(int(connection.recv(16)) / 1000)


def http(connection: socket.socket, address: Any) -> None:
    """Answer whatever is asked, as a load generator wants it."""
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")
