"""An ASGI application on the engine granian: statistics, access log and limits stand around it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import TYPE_CHECKING, Any

from supervisor.child.child import Child
from supervisor.workers.engines.granian import Asynchronous
from supervisor.workers.engines.sockets import AsgiSocket, Sockets
from supervisor.workers.engines.steps import stepped
from supervisor.workers.web import access_log, proxies

if TYPE_CHECKING:
    from supervisor.workers.asgi import AsgiOptions

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


def engine(
    child: Child,
    options: AsgiOptions,
    application: Any,
    state: dict[str, Any],
    loop: asyncio.AbstractEventLoop,
) -> Asynchronous:
    """Granian with this application."""
    log = access_log.log(options, child)
    application = timed(application, child)
    application = proxies.asgi(application, options.trusted_proxies)
    if options.body_limit:
        application = limited(application, options.body_limit)
    application = counted(application, child)
    if log is not None:
        application = logged(application, log)
    sockets = Sockets()
    call = asgi_call(application, child, options.root_path, state, sockets)
    return Asynchronous(child, options, "asgi", call, loop, sockets, websockets=options.websockets)


def asgi_call(
    application: Application,
    child: Child,
    root_path: str,
    state: dict[str, Any],
    sockets: Sockets,
) -> Callable[[Any, Any], Coroutine[Any, Any, None]]:
    """The function that the engine granian calls with a scope and its own protocol object."""

    async def call(scope: Any, protocol: Any) -> None:
        scope["root_path"], scope["state"] = root_path, state.copy()
        if scope["type"] == "websocket":
            socket = AsgiSocket(protocol)
            with sockets.open(socket.close):
                await application(scope, socket.receive, socket.send)
            return

        def send(message: Any) -> Any:
            # A connection that was taken from the queue at the last moment is not told to close.
            is_start = message["type"] == "http.response.start"
            if is_start and child.stopping and scope["http_version"] != "2":
                closing = (b"connection", b"close")
                message = {**message, "headers": [*message.get("headers", ()), closing]}
            return protocol.send(message)

        await application(scope, protocol.receive, send)

    return call


def timed(application: Application, child: Child) -> Application:
    """The application, each step of its WebSockets with a deadline."""
    if child.step() is None:
        return application

    def step(scope: Message, receive: Receive, send: Send) -> Awaitable[None]:
        running = application(scope, receive, send)
        return running if scope["type"] == "http" else stepped(running, child)

    return step


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
