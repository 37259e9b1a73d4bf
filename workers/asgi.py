"""Type `asgi`: an asynchronous application on an event loop."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Protocol

from msgspec import Meta

from supervisor.child.child import Child
from supervisor.child.worker import Worker
from supervisor.config.schema import Bytes, Options, ProxyProtocol, Seconds
from supervisor.system import tls
from supervisor.workers.web.application import (
    ApplicationOptions,
    Loop,
    WebSockets,
    check_files,
    load_application,
    need,
    preloaded,
)
from supervisor.workers.web.asgi.static import mounted
from supervisor.workers.web.lifespan import Lifespan
from supervisor.workers.web.loops import new_loop, told_to_stop
from supervisor.workers.web.proxy_header import proxies


class Engine(Protocol):
    """Accepts connections and speaks HTTP in this child."""

    async def start(self) -> None:
        """Begin to accept."""

    async def drain(self) -> None:
        """Accept nothing new, finish what is in hand; return when it is done."""


class AsgiOptions(ApplicationOptions, frozen=True):
    """Options of type `asgi`."""

    interface: ClassVar[str] = "asgi"

    loop: Loop = "uvloop"
    lifespan: Annotated[
        Literal["auto", "on", "off"],
        Meta(
            description="auto = none where the application raises before it receives, on = it must "
            "have one, off = it is not asked"
        ),
    ] = "auto"
    websockets: WebSockets = True
    ws_max_size: Annotated[Bytes, Meta(description="of a message, 1009 beyond; 0 = no limit")] = (
        16_777_216
    )
    ws_ping_interval: Annotated[
        Seconds, Meta(description="a client that says nothing is asked so often; 0 = never")
    ] = 20.0
    ws_ping_timeout: Annotated[
        Seconds, Meta(description="it has so long to answer; 0 = for ever")
    ] = 20.0
    close_spread: Annotated[
        Seconds, Meta(description="at a stop all WebSockets are closed within this time")
    ] = 0.0
    proxy_protocol: ProxyProtocol = "off"


class Asgi(Worker):
    """Serves an ASGI application: HTTP and WebSockets.

    The event loop runs in the main thread; the application's lifespan is the child's.
    """

    Options: ClassVar[type[Options]] = AsgiOptions
    schemes: ClassVar[frozenset[str]] = frozenset({"tcp", "unix"})
    needs_listener = True

    def preload(self) -> None:
        options: AsgiOptions = self.options
        self._needs_granian = options.http == "2"
        if options.loop == "uvloop":
            need("uvloop", "loop 'uvloop'")
        if self._needs_granian:
            need("granian", "http = '2'")
            from supervisor.workers.engines import granian

            granian.check_version()
        else:
            need("websockets", "type 'asgi'")
            from supervisor.workers.web.asgi import engine  # before the fork: it is shared

            self._engine_class = engine.Http1
        check_files(options)
        http = "2" if self._needs_granian else "1"
        self._proxies = proxies(options.proxy_protocol, options.trusted_proxies, http)
        self._context = tls.context(options.tls) if options.tls else None
        self._application = preloaded(options)

    def init(self, child: Child) -> None:
        options: AsgiOptions = self.options
        if not options.preload:
            self._application = load_application(options)
        self._loop = new_loop(options.loop)
        self._lifespan = Lifespan(self._application, options.lifespan)
        self._loop.run_until_complete(self._lifespan.startup())
        self._engine = self._new_engine(child)

    def _new_engine(self, child: Child) -> Engine:
        state = self._lifespan.state
        if self._needs_granian:
            from supervisor.workers.engines import asgi, calls

            service = calls.Service(child, self.options, self._loop)
            return asgi.engine(service, self._application, state)
        application = mounted(self.options.static, self._application)
        return self._engine_class(
            child,
            self.options,
            application,
            state,
            self._loop,
            self._context,
            self._proxies,
        )

    def run(self, child: Child) -> None:
        self._loop.run_until_complete(self._serve(child))

    async def _serve(self, child: Child) -> None:
        await self._engine.start()
        await told_to_stop(child)
        await self._engine.drain()
        await self._lifespan.shutdown()

    def close(self) -> None:
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
