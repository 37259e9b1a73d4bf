"""A worker that keeps many connections."""

import socket
import threading

from supervisor import Child, Worker


class Keeper(Worker):
    """Lets a thread wait for a byte on each connection, and answer it."""

    def run(self, child: Child) -> None:
        for connection, _peer in child.connections():
            threading.Thread(target=answer, args=(connection,), daemon=True).start()


def answer(connection: socket.socket) -> None:
    with connection:
        connection.recv(1)
        connection.sendall(b"done\n")
