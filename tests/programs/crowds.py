"""A handler that leaves a crowd behind."""

import os
import socket
from typing import Any

COUNT = 1000


def orphans(connection: socket.socket, address: Any) -> None:
    """Leave a thousand orphans that exit when all of them are there; answer when all have ended."""
    wait_here, go = os.pipe()
    ended, alive = os.pipe()
    for _ in range(COUNT):
        if (child := os.fork()) == 0:
            if os.fork() == 0:
                os.close(go)
                os.read(wait_here, 1)
            os._exit(3)
        os.waitpid(child, 0)
    for descriptor in (go, wait_here, alive):
        os.close(descriptor)
    os.read(ended, 1)
    os.close(ended)
    connection.sendall(f"left {COUNT}\n".encode())
