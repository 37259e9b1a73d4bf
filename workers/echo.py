"""Handlers that send back what they get: for a first try, and for measurements."""

from __future__ import annotations

import socket
from typing import Any

_CHUNK = 65_536


def stream(connection: socket.socket, _address: Any) -> None:
    """Return every byte until the peer has no more to say."""
    while data := connection.recv(_CHUNK):
        connection.sendall(data)


def datagram(data: bytes, _address: Any) -> bytes:
    """Return the datagram."""
    return data
