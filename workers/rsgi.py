"""Type `rsgi`: an application written for the interface of the engine granian itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar
from urllib.parse import quote

from supervisor.child.child import Child
from supervisor.child.worker import Worker
from supervisor.config.schema import Options
from supervisor.workers.engines.calls import Call, Service, TooLarge, words
from supervisor.workers.web import access_log, proxies
from supervisor.workers.web.application import (
    ApplicationOptions,
    Loop,
    WebSockets,
    load_application,
    need,
    prepare,
)
from supervisor.workers.web.forwarded import Trust
from supervisor.workers.web.loops import new_loop, told_to_stop
from supervisor.workers.web.static_files import Answer, Mounts

Application = Callable[[Any, Any], Awaitable[None]]

_PIECE = 1 << 18  # bytes of a file


class RsgiOptions(ApplicationOptions, frozen=True):
    """Options of type `rsgi`."""

    interface: ClassVar[str] = "rsgi"

    loop: Loop = "uvloop"
    websockets: WebSockets = True


class Rsgi(Worker):
    """Serves an RSGI application (granian's own interface): HTTP and WebSockets.

    The engine's threads parse, and hand each request to the loop in the main thread.
    """

    Options: ClassVar[type[Options]] = RsgiOptions
    schemes: ClassVar[frozenset[str]] = frozenset({"tcp", "unix"})
    needs_listener = True

    def preload(self) -> None:
        if self.options.loop == "uvloop":
            need("uvloop", "loop 'uvloop'")
        self._application = prepare(self.options, "rsgi")

    def init(self, child: Child) -> None:
        from supervisor.workers.engines.granian import Granian

        options = self.options
        if not options.preload:
            self._application = load_application(options)
        self._loop = new_loop(options.loop)
        start = getattr(self._application, "__rsgi_init__", None)
        if start is not None:
            start(self._loop)
        application = getattr(self._application, "__rsgi__", self._application)
        service = Service(child, options, self._loop)
        self._engine = Granian(service, "rsgi", _caller(service, application))

    def run(self, child: Child) -> None:
        self._loop.run_until_complete(self._serve(child))
        end = getattr(self._application, "__rsgi_del__", None)
        if end is not None:
            end(self._loop)

    async def _serve(self, child: Child) -> None:
        await self._engine.start()
        await told_to_stop(child)
        await self._engine.drain()


def _caller(service: Service, application: Application) -> Callable[[Any, Any], Any]:
    """The function that the engine calls with a scope and its own protocol object."""
    mounts = Mounts(service.options.static)
    trust = Trust(service.options.trusted_proxies)

    async def call(scope: Any, protocol: Any) -> None:
        one = RsgiCall(service, proxies.seen(scope, trust), protocol, scope.client)
        found = mounts.find(quote(scope.path).encode()) if scope.proto == "http" else None
        if found is None:
            await one.run(one.call(application))
        else:
            await one.run(one.send_file(*found))

    return call


class RsgiCall(Call):
    """A request or a WebSocket. It stands between an application and the engine's protocol object,
    whose methods it has.
    """

    def __init__(self, service: Service, scope: Any, protocol: Any, peer: str) -> None:
        is_http = scope.proto == "http"
        super().__init__(service, scope.method, scope.path, peer, is_http=is_http)
        self._scope = scope
        self._protocol = protocol
        self._left = service.options.body_limit or float("inf")
        self._ends = asyncio.Event()

    async def call(self, application: Application) -> None:
        """Call the application."""
        if int(self._scope.headers.get("content-length") or 0) > self._left:
            self._refuse_body()
        await application(self._scope, self)

    async def send_file(self, files: Any, name: bytes) -> None:
        """Answer with a static file."""
        scope = self._scope
        named = {key.encode(): value.encode("latin-1") for key, value in scope.headers.items()}
        answer: Answer = files.answer(scope.method, name, named)
        fields = [(key.decode(), value.decode("latin-1")) for key, value in answer.fields]
        if answer.descriptor < 0:
            body = b"" if answer.status == 304 else words(answer.status)
            kind = [] if answer.status == 304 else [("content-type", "text/plain; charset=utf-8")]
            self.response_bytes(answer.status, [*fields, *kind], body)
            return
        with open(answer.descriptor, "rb", buffering=0) as file:
            fields.append(("content-length", str(answer.length)))
            file.seek(answer.at)
            left = 0 if scope.method == "HEAD" else answer.length
            transport = self.response_stream(answer.status, fields)
            while left > 0 and (piece := file.read(min(left, _PIECE))):
                left -= len(piece)
                await transport.send_bytes(piece)

    # The protocol object that the application sees.

    async def __call__(self) -> bytes:
        if not self._service.options.body_limit:
            whole: bytes = await self.wait_for_client(self._protocol())
            return whole
        return b"".join([part async for part in self])  # the engine would read all of it

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts = aiter(self._protocol)
        with suppress(StopAsyncIteration):
            while True:
                part = await self.wait_for_client(parts.__anext__())
                self._left -= len(part)
                if self._left < 0:
                    self._refuse_body()
                yield part

    async def client_disconnect(self) -> None:
        """Return when the client is gone, or the answer should end."""
        gone = asyncio.ensure_future(_awaited(self._protocol.client_disconnect()))
        ends = asyncio.ensure_future(self._ends.wait())
        try:
            await asyncio.wait([gone, ends], return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            ends.cancel()

    async def accept(self) -> Any:
        """Take a WebSocket."""
        transport = await self._protocol.accept()
        self.has_begun, self.status = True, 101
        self.streams()
        return transport

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._protocol, name)
        return partial(self._respond, name, found) if name.startswith("response_") else found

    def _respond(self, name: str, respond: Callable[..., Any], *answer: Any, **named: Any) -> Any:
        if self.is_too_large and not self.has_begun:
            self._refuse_body()  # the application would answer for it
        status, fields, *body = answer
        if self._service.is_last and self._scope.http_version != "2":
            fields = [*fields, ("connection", "close")]
        given = respond(status, fields, *body, **named)
        self.has_begun, self.status = True, status
        self.answer_begins()
        if name == "response_stream":
            self.streams()
        return given

    def _refuse_body(self) -> None:
        self.is_too_large = True
        raise TooLarge(f"the body is larger than {self._service.options.body_limit} bytes")

    # What happens to it.

    async def refuse(self, status: int) -> None:
        if not self._is_http:
            self._protocol.close(status)
            return
        self.status = status
        headers = [("content-type", "text/plain")]
        if self._scope.http_version != "2":
            headers.append(("connection", "close"))
        self._protocol.response_bytes(status, headers, words(status))

    def disconnect(self) -> None:
        self.told = True
        self._ends.set()

    async def restart(self) -> None:
        """RSGI has a close without a code only."""
        if not (self._is_http or self.told):
            self.disconnect()
            self._protocol.close()

    def served(self) -> access_log.Served:
        """The size of the body is not told here."""
        scope = self._scope
        query = f"?{scope.query_string}" if scope.query_string else ""
        return access_log.Served(
            client=proxies.host_of(scope.client),
            method=scope.method,
            target=scope.path + query,
            protocol=f"HTTP/{scope.http_version}",
            status=self.status or 500,
            size=0,
            fields={
                name.encode("latin-1"): value.encode("latin-1")
                for name, value in scope.headers.items()
            },
        )


async def _awaited(awaitable: Any) -> Any:
    return await awaitable
