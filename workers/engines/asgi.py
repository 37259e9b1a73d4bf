"""An ASGI application on the engine granian; one of WSGI is made one of ASGI first."""

from __future__ import annotations

import asyncio
from typing import Any

from supervisor.child.child import Child
from supervisor.workers.engines.calls import (
    SERVICE_RESTART,
    Call,
    ClientGone,
    Message,
    Service,
    TooLarge,
    words,
)
from supervisor.workers.engines.granian import Granian
from supervisor.workers.web import access_log
from supervisor.workers.web.application import ApplicationOptions
from supervisor.workers.web.asgi.scope import apply_origin
from supervisor.workers.web.asgi.static import Application, mounted
from supervisor.workers.web.forwarded import Trust
from supervisor.workers.web.loops import new_loop, told_to_stop


def engine(service: Service, application: Application, state: dict[str, Any]) -> Granian:
    """Granian with this application, and the static files before it."""
    options = service.options
    application = mounted(options.static, application)
    trust = Trust(options.trusted_proxies)

    async def call(scope: Message, protocol: Any) -> None:
        scope["state"], scope["root_path"] = state.copy(), ""
        peer = scope["client"]
        apply_origin(scope, scope["headers"], trust, options.root_path)
        kind = HttpCall if scope["type"] == "http" else WebSocketCall
        one = kind(service, scope, protocol, peer)
        await one.run(one.call(application))

    return Granian(service, "asgi", call)


class Http2:
    """Serves an application that knows no event loop."""

    def __init__(self, child: Child, options: ApplicationOptions, application: Application) -> None:
        self._child = child
        self._loop = new_loop("asyncio")
        self._engine = engine(Service(child, options, self._loop), application, {})

    def run(self) -> None:
        """Serve until told to stop."""
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        await self._engine.start()
        await told_to_stop(self._child)
        await self._engine.drain()


class AsgiCall(Call):
    """Stands between an application and the engine's protocol object."""

    def __init__(self, service: Service, scope: Message, protocol: Any, peer: Any) -> None:
        host, port = peer or ("", 0)
        client = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        method, is_http = scope.get("method", "GET"), scope["type"] == "http"
        super().__init__(service, method, scope["path"], client, is_http=is_http)
        self._scope = scope
        self._protocol = protocol
        self._waiting: Any = None  # for the engine

    async def call(self, application: Application) -> None:
        """Call the application."""
        await application(self._scope, self.receive, self.send)

    async def receive(self) -> Message:
        """As ASGI has it."""
        raise NotImplementedError

    async def send(self, message: Message) -> None:
        """As ASGI has it."""
        raise NotImplementedError

    async def _receive(self) -> Message | None:
        """The next message; None once the application was told to end. The engine cannot be told
        that, so what waits for it is cancelled.
        """
        if self.told:
            return None
        self._waiting = self._protocol.receive()
        try:
            message: Message = await self.wait_for_client(self._waiting)
        except asyncio.CancelledError:
            if self._is_cancelled or not self.told:
                raise
            return None
        finally:
            self._waiting = None
        return message

    def disconnect(self) -> None:
        self.told = True
        cancel = getattr(self._waiting, "cancel", None)
        if cancel is not None:
            cancel()

    def served(self) -> access_log.Served:
        return access_log.of_asgi(self._scope, self.status or 500, self.size)


class HttpCall(AsgiCall):
    """A request."""

    def __init__(self, service: Service, scope: Message, protocol: Any, peer: Any) -> None:
        super().__init__(service, scope, protocol, peer)
        self._left = service.options.body_limit or float("inf")
        self._start: Message | None = None  # kept until the first part of the body
        self._has_ended = False

    async def call(self, application: Application) -> None:
        lengths = [value for name, value in self._scope["headers"] if name == b"content-length"]
        if lengths and int(lengths[0]) > self._left:
            self._refuse_body()
        await super().call(application)
        if not self.has_begun and not self.told:
            raise RuntimeError("the application has ended without an answer")

    def _refuse_body(self) -> None:
        self.is_too_large = True
        raise TooLarge(f"the body is larger than {self._service.options.body_limit} bytes")

    async def receive(self) -> Message:
        message = await self._receive()
        if message is None:
            return {"type": "http.disconnect"}
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self._refuse_body()
        return message

    async def send(self, message: Message) -> None:
        if self.is_too_large and not self.has_begun:
            self._refuse_body()  # the application would answer for it
        if message["type"] == "http.response.start":
            if self._start is not None or self.has_begun:
                raise RuntimeError("http.response.start for the second time")
            self._start = message
            return
        if not self.has_begun:
            await self._begin()
        self.size += len(message.get("body", b""))
        if message.get("more_body", False):
            self.streams()
        await self._protocol.send(message)

    async def _begin(self) -> None:
        start = self._start
        if start is None:
            raise RuntimeError("http.response.body before http.response.start")
        if self._service.is_last and self._scope["http_version"] != "2":
            start = {**start, "headers": [*start.get("headers", ()), (b"connection", b"close")]}
        self.answer_begins()
        await self._protocol.send(start)
        self.status, self.has_begun = start["status"], True

    async def refuse(self, status: int) -> None:
        fields = [(b"content-type", b"text/plain")]
        if self._scope["http_version"] != "2":
            fields.append((b"connection", b"close"))
        self.status = status
        start = {"type": "http.response.start", "status": status, "headers": fields}
        await self._protocol.send(start)
        await self._protocol.send({"type": "http.response.body", "body": words(status)})


class WebSocketCall(AsgiCall):
    """A WebSocket."""

    def __init__(self, service: Service, scope: Message, protocol: Any, peer: Any) -> None:
        super().__init__(service, scope, protocol, peer)
        self._has_told = asyncio.Event()

    async def receive(self) -> Message:
        message = await self._receive()
        if message is not None:
            return message
        # The engine closes without a code where the application has ended before.
        await self._has_told.wait()
        return {"type": "websocket.disconnect", "code": SERVICE_RESTART, "reason": ""}

    async def send(self, message: Message) -> None:
        if self.told:
            raise ClientGone("the WebSocket was closed: the server stops")
        if message["type"] == "websocket.accept":
            self.has_begun, self.status = True, 101
            self.streams()
        await self._protocol.send(message)

    async def restart(self) -> None:
        if self.told or not self.has_begun:
            return
        self.disconnect()
        try:
            await self._protocol.send({"type": "websocket.close", "code": SERVICE_RESTART})
        finally:
            self._has_told.set()

    def disconnect(self) -> None:
        super().disconnect()
        if not self.has_begun:
            self._has_told.set()

    async def refuse(self, status: int) -> None:
        await self._protocol.send({"type": "websocket.close"})
        self.status = 403
