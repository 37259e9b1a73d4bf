"""Drives the HTTP/1.1 machine without a socket, with an application that answers what it saw."""

from __future__ import annotations

import hashlib

from supervisor.workers.web.http1 import END, Connection, Limits, Refusal, Request, head_of
from tests.support.conformance import Answer

_LONG = 200  # as in tests/programs/echoes.py


def events(pieces: list[bytes], limits: Limits) -> list[object]:
    """All events of some bytes: a request as its parts, the pieces of a body joined; of a refusal
    the status, for what is wrong with it first depends on what has come.
    """
    connection = Connection(limits)
    told: list[object] = []
    for piece in pieces:
        event = connection.receive(piece)
        while event is not None:
            _tell(told, event)
            _answer(connection)
            event = connection.receive()
    told.append(connection.state.name)
    connection.close()
    return told


def _tell(told: list[object], event: object) -> None:
    if isinstance(event, Request):
        told.append((event.method, event.target, event.fields, event.is_http11, event.complete))
    elif isinstance(event, bytes) and told and isinstance(told[-1], bytes):
        told[-1] += event
    else:
        told.append(event.status if isinstance(event, Refusal) else event)


def _answer(connection: Connection) -> None:
    """Answer a request once it is whole, so that the next one is looked at."""
    if connection.state.name == "DONE":
        connection.answer(head_of(200, []), length=0)
        connection.end()
        connection.renew()


def answers(data: bytes, limits: Limits) -> list[Answer]:
    """How a server on the machine answers some bytes, up to the end of the connection."""
    connection, told, body = Connection(limits), [], b""
    event = connection.receive(data)
    while event is not None:
        if isinstance(event, Refusal):
            connection.refuse(event.status)
            return [*told, Answer(event.status)]
        body += event if isinstance(event, bytes) else b""
        if event is END or (isinstance(event, Request) and event.complete):
            told.append(Answer(200, _seen(connection.request, body)))
            body = b""
            connection.answer(head_of(200, []), length=0)
            connection.end()
            if not connection.renew():
                return told
        event = connection.receive()
    return told


def _seen(request: Request | None, body: bytes) -> str:
    assert request is not None
    return f"{request.method} {_brief(request.target)} {_brief(body)}"


def _brief(data: bytes) -> str:
    if len(data) > _LONG:
        return f"{len(data)} bytes {hashlib.sha256(data).hexdigest()[:16]}"
    return data.decode("latin-1")
