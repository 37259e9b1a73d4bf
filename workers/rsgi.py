"""Type `rsgi`: an application written for the interface of the engine granian itself."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from functools import partial
from typing import Any, ClassVar, Literal

from supervisor.child import Child
from supervisor.config import Options
from supervisor.worker import Worker
from supervisor.workers import access
from supervisor.workers.application import (
    ApplicationOptions,
    load_application,
    need,
    prepare,
)
from supervisor.workers.loops import new_loop, told_to_stop
from supervisor.workers.sockets import Sockets


class RsgiOptions(ApplicationOptions, frozen=True):
    """As `wsgi`, with the event loop of `asgi`."""

    loop: Literal["uvloop", "asyncio"] = "uvloop"
    websockets: bool = True


class Rsgi(Worker):
    """The engine's threads parse and hand each request to the loop in the main thread."""

    Options: ClassVar[type[Options]] = RsgiOptions
    schemes: ClassVar[frozenset[str]] = frozenset({"tcp", "unix"})
    needs_listener = True

    def preload(self) -> None:
        if self.options.loop == "uvloop":
            need("uvloop", "loop 'uvloop'")
        self._application = prepare(self.options, "rsgi")

    def init(self, child: Child) -> None:
        from supervisor.workers.asynchronous import Asynchronous

        options = self.options
        if not options.preload:
            self._application = load_application(options)
        self._loop = new_loop(options.loop)
        start = getattr(self._application, "__rsgi_init__", None)
        if start is not None:
            start(self._loop)
        sockets = Sockets()
        application = getattr(self._application, "__rsgi__", self._application)
        call = _counted(application, child, access.log(options, child), sockets)
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
    application: Callable[[Any, Any], Coroutine[Any, Any, None]],
    child: Child,
    log: access.Log | None,
    sockets: Sockets,
) -> Callable[[Any, Any], Coroutine[Any, Any, None]]:
    """The application, each request of it counted and, where asked for, logged."""
    from granian.rsgi import _LoggingProto

    async def count(scope: Any, protocol: Any) -> None:
        begun = log.begin() if log else None
        is_http = scope.proto == "http"
        seen: Any = _LoggingProto(protocol) if is_http else protocol  # type: ignore[no-untyped-call]
        is_open = nullcontext() if is_http else sockets.open(partial(_close, protocol))
        with child.request(timed=is_http) as request, is_open:
            try:
                await application(scope, seen)
            finally:
                status = seen.status if is_http else 101
                if status >= 500:
                    request.fail()
                if log and begun:
                    log.end(begun, _served(scope, status))

    return count


async def _close(protocol: Any) -> None:
    """RSGI has a close without a code only."""
    protocol.close()


def _served(scope: Any, status: int) -> access.Served:
    """The size of the body is the engine's secret here."""
    return access.Served(
        client=scope.client.rpartition(":")[0],
        method=scope.method,
        path=scope.path,
        query=scope.query_string,
        protocol=f"HTTP/{scope.http_version}",
        status=status,
        size=0,
        referer=scope.headers.get("referer") or "",
        agent=scope.headers.get("user-agent") or "",
    )
