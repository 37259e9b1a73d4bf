"""What stands between an engine and an ASGI application: statistics, access log, limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from supervisor.child.child import Child
from supervisor.workers.web import access_log

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


def counted(application: Application, child: Child) -> Application:
    """The application, each request of it counted; one that is answered with a 5xx is an error."""

    async def count(scope: Message, receive: Receive, send: Send) -> None:
        status = 0

        def watch(message: Message) -> Awaitable[None]:
            nonlocal status
            if "status" in message:
                status = message["status"]
            return send(message)

        with child.request(timed=scope["type"] == "http") as request:
            await application(scope, receive, watch)
            if status >= 500:
                request.fail()

    return count


def logged(application: Application, log: access_log.Log) -> Application:
    """The application, each request of it in the access log once it has ended."""

    async def write(scope: Message, receive: Receive, send: Send) -> None:
        begun = log.begin()
        status, size = 101 if scope["type"] == "websocket" else 500, 0

        def watch(message: Message) -> Awaitable[None]:
            nonlocal status, size
            status = message.get("status", status)
            size += len(message.get("body", b""))
            return send(message)

        try:
            await application(scope, receive, watch)
        finally:
            log.end(begun, access_log.of_asgi(scope, status, size))

    return write


def limited(application: Application, limit: int) -> Application:
    """The application, answered for with 413 where a request's body has more than `limit` bytes."""

    async def check(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        left, is_answered = limit, False

        async def count() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise _TooLarge
            return message

        def watch(message: Message) -> Awaitable[None]:
            nonlocal is_answered
            if left < 0 and not is_answered:
                raise _TooLarge  # the application would answer for it
            is_answered = True
            return send(message)

        try:
            if _announced(scope) > limit:
                raise _TooLarge
            await application(scope, count, watch)
        except _TooLarge:
            if is_answered:
                raise
            await _refuse(send)

    return check


class _TooLarge(Exception):
    pass


def _announced(scope: Message) -> int:
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    return int(lengths[0]) if lengths else 0


async def _refuse(send: Send) -> None:
    headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": b"Content Too Large\n"})
