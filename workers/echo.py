"""Handlers that send back what they get: for a first try, and for measurements."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

_CHUNK = 65_536


def stream(connection: socket.socket, _address: Any) -> None:
    """Return every byte until the peer has no more to say."""
    while data := connection.recv(_CHUNK):
        connection.sendall(data)


def datagram(data: bytes, _address: Any) -> bytes:
    """Return the datagram."""
    return data


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Return the body of the request."""
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    """Return the body of the request. It knows no lifespan and no WebSockets."""
    if scope["type"] != "http":
        raise ValueError(f"{scope['type']} is not known here")
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


async def rsgi(scope: Any, protocol: Any) -> None:
    """Return the body of the request."""
    protocol.response_bytes(200, [], await protocol())
