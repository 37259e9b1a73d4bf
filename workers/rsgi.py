"""Type `rsgi`: an application written for the interface of the engine granian itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, ClassVar

from supervisor.child.child import Child
from supervisor.child.worker import Worker
from supervisor.config.schema import Options
from supervisor.workers.engines.granian_wsgi import TooLarge
from supervisor.workers.engines.sockets import Sockets
from supervisor.workers.engines.steps import stepped
from supervisor.workers.web import access_log, proxies
from supervisor.workers.web.application import (
    ApplicationOptions,
    Loop,
    WebSockets,
    load_application,
    need,
    prepare,
)
from supervisor.workers.web.loops import new_loop, told_to_stop

Application = Callable[[Any, Any], Awaitable[None]]


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
        from supervisor.workers.engines.granian import Asynchronous

        options = self.options
        if not options.preload:
            self._application = load_application(options)
        self._loop = new_loop(options.loop)
        start = getattr(self._application, "__rsgi_init__", None)
        if start is not None:
            start(self._loop)
        sockets = Sockets()
        application = getattr(self._application, "__rsgi__", self._application)
        if options.body_limit:
            application = _limited(application, options.body_limit)
        call = _counted(application, child, access_log.log(options, child), sockets)
        call = proxies.rsgi(call, options.trusted_proxies)
        self._engine = Asynchronous(
            child, options, "rsgi", call, self._loop, sockets, websockets=options.websockets
        )

    def run(self, child: Child) -> None:
        self._loop.run_until_complete(self._serve(child))
        end = getattr(self._application, "__rsgi_del__", None)
        if end is not None:
            end(self._loop)

    async def _serve(self, child: Child) -> None:
        await self._engine.start()
        await told_to_stop(child)
        await self._engine.drain()


def _counted(
    application: Application, child: Child, log: access_log.Log | None, sockets: Sockets
) -> Application:
    """The application, each request of it counted and, where asked for, logged."""
    from granian.rsgi import _LoggingProto

    async def count(scope: Any, protocol: Any) -> None:
        begun = log.begin() if log else None
        is_http = scope.proto == "http"
        seen: Any = _LoggingProto(protocol) if is_http else protocol  # type: ignore[no-untyped-call]
        is_open = nullcontext() if is_http else sockets.open(partial(_close, protocol))
        try:
            with child.request(timed=is_http) as request, is_open:
                running = application(scope, seen)
                await (running if is_http else stepped(running, child))
                if is_http and seen.status >= 500:
                    request.fail()
        finally:
            if log and begun:
                log.end(begun, _served(scope, seen.status if is_http else 101))

    return count


def _limited(application: Application, limit: int) -> Application:
    """The application, answered for with 413 where a request's body has more than `limit` bytes."""

    async def check(scope: Any, protocol: Any) -> None:
        if scope.proto != "http":
            await application(scope, protocol)
            return
        bounded = _Bounded(protocol, limit)
        try:
            if int(scope.headers.get("content-length") or 0) > limit:
                raise TooLarge
            await application(scope, bounded)
        except TooLarge:
            if bounded.is_answered:
                raise
            headers = [("content-type", "text/plain"), ("connection", "close")]
            protocol.response_str(413, headers, "Content Too Large\n")

    return check


class _Bounded:
    """The engine's protocol object; reading more of a body than `limit` bytes raises TooLarge."""

    def __init__(self, protocol: Any, limit: int) -> None:
        self.is_answered = False
        self._protocol = protocol
        self._left = limit

    async def __call__(self) -> bytes:
        return b"".join([part async for part in self])  # the engine's own would read all of it

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._protocol:
            self._left -= len(part)
            if self._left < 0:
                raise TooLarge("the body is larger than body_limit")
            yield part

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._protocol, name)
        return partial(self._respond, found) if name.startswith("response_") else found

    def _respond(self, respond: Callable[..., Any], *answer: Any, **named: Any) -> Any:
        if self._left < 0 and not self.is_answered:
            raise TooLarge  # the application would answer for it
        self.is_answered = True
        return respond(*answer, **named)


async def _close(protocol: Any) -> None:
    """RSGI has a close without a code only."""
    protocol.close()


def _served(scope: Any, status: int) -> access_log.Served:
    """The size of the body is the engine's secret here."""
    query = f"?{scope.query_string}" if scope.query_string else ""
    return access_log.Served(
        client=proxies.host_of(scope.client),
        method=scope.method,
        target=scope.path + query,
        protocol=f"HTTP/{scope.http_version}",
        status=status,
        size=0,
        fields={
            name.encode("latin-1"): value.encode("latin-1") for name, value in scope.headers.items()
        },
    )
