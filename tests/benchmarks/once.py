"""The floor's work as a handler: one read, one write."""

import socket


def serve(connection: socket.socket, _address: object) -> None:
    """Echo what one read brings."""
    connection.sendall(connection.recv(65536))
