"""Type `asgi`: an asynchronous application on an event loop, served by one of two engines."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, ClassVar, Literal, Protocol

from msgspec import Meta

from supervisor.child.child import Child
from supervisor.child.worker import Worker
from supervisor.config.schema import Options
from supervisor.errors import NameProblem
from supervisor.workers.web import access_log, proxies, steps
from supervisor.workers.web.application import (
    ApplicationOptions,
    Loop,
    WebSockets,
    check_files,
    load_application,
    need,
    preloaded,
)
from supervisor.workers.web.lifespan import Lifespan
from supervisor.workers.web.loops import new_loop, told_to_stop
from supervisor.workers.web.middleware import Application, counted, limited, logged
from supervisor.workers.web.sockets import AsgiSocket, Sockets


class Engine(Protocol):
    """What accepts connections and speaks HTTP in this child."""

    async def start(self) -> None:
        """Begin to accept."""

    async def drain(self) -> None:
        """Accept nothing new, finish what is in hand; return when it is done."""


class AsgiOptions(ApplicationOptions, frozen=True):
    """Options of type `asgi`."""

    engine: Annotated[
        Literal["auto", "uvicorn", "granian"],
        Meta(description='auto = uvicorn, unless http = "2" or static need granian'),
    ] = "auto"
    loop: Loop = "uvloop"
    lifespan: Annotated[
        Literal["auto", "on", "off"],
        Meta(
            description="auto = none where the application raises before it receives, on = it must "
            "have one, off = it is not asked"
        ),
    ] = "auto"
    websockets: WebSockets = True


class Asgi(Worker):
    """Serves an ASGI application: HTTP and WebSockets.

    The event loop runs in the main thread; the application's lifespan is the child's.
    """

    Options: ClassVar[type[Options]] = AsgiOptions
    schemes: ClassVar[frozenset[str]] = frozenset({"tcp", "unix"})
    needs_listener = True

    def preload(self) -> None:
        options: AsgiOptions = self.options
        self._engine_name = _engine_of(options)
        modules = _MODULES[self._engine_name]
        for module in (*modules, "uvloop") if options.loop == "uvloop" else modules:
            need(module, "type 'asgi'")
        if self._engine_name == "granian":
            from supervisor.workers.engines import granian

            granian.check_version()
        else:
            importlib.import_module("supervisor.workers.engines.uvicorn")
        check_files(options)
        self._application = preloaded(options)

    def init(self, child: Child) -> None:
        options: AsgiOptions = self.options
        if not options.preload:
            self._application = load_application(options)
        self._loop = new_loop(options.loop)
        self._lifespan = Lifespan(self._application, options.lifespan)
        self._loop.run_until_complete(self._lifespan.startup())
        self._engine = self._new_engine(child, access_log.log(options, child))

    def _new_engine(self, child: Child, log: access_log.Log | None) -> Engine:
        options, state = self.options, self._lifespan.state
        application = steps.asgi(self._application, child)
        application = proxies.asgi(application, options.trusted_proxies)
        if options.body_limit:
            application = limited(application, options.body_limit)
        application = counted(application, child)
        if log is not None:
            application = logged(application, log)
        if self._engine_name == "granian":
            from supervisor.workers.engines.asynchronous import Asynchronous

            sockets = Sockets()
            call = asgi_call(application, child, options.root_path, state, sockets)
            return Asynchronous(
                child, options, "asgi", call, self._loop, sockets, websockets=options.websockets
            )
        from supervisor.workers.engines.uvicorn import Uvicorn

        return Uvicorn(child, options, application, state, self._loop)

    def run(self, child: Child) -> None:
        self._loop.run_until_complete(self._serve(child))

    async def _serve(self, child: Child) -> None:
        await self._engine.start()
        await told_to_stop(child)
        await self._engine.drain()
        await self._lifespan.shutdown()

    def close(self) -> None:
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())


_MODULES = {"granian": ("granian",), "uvicorn": ("uvicorn", "httptools", "websockets")}


def _engine_of(options: AsgiOptions) -> str:
    needs_granian = options.http == "2" or bool(options.static)
    if options.engine == "uvicorn" and needs_granian:
        reason = "static files" if options.static else "http = '2'"
        raise NameProblem(f"'uvicorn' has no {reason}; 'granian' has", "engine")
    if options.engine == "auto":
        return "granian" if needs_granian else "uvicorn"
    return options.engine


def asgi_call(
    application: Application,
    child: Child,
    root_path: str,
    state: dict[str, Any],
    sockets: Sockets,
) -> Callable[[Any, Any], Coroutine[Any, Any, None]]:
    """What the engine granian calls with a scope and its own protocol object."""

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
