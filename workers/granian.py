"""The engine granian in a child: its workers on our listening sockets, without its own server.

Built on granian's internals of 2.8 (granian/server/mp.py shows their use): nothing of it runs in
the master, where a thread would not survive the fork.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from granian._futures import _future_watcher_wrapper, _new_cbscheduler
from granian._granian import (
    ASGIWorker,
    RSGIWorker,
    SocketHolder,
    WorkerSignal,
    WSGIWorker,
    __version__,
)
from granian.http import HTTP1Settings, HTTP2Settings

from supervisor.child import Child
from supervisor.errors import NameProblem
from supervisor.listeners import Listener
from supervisor.workers.application import ApplicationOptions

if TYPE_CHECKING:
    from supervisor.workers.middleware import Application

# Untyped, or typed for an older version.
_scheduler: Any = partial(_new_cbscheduler, impl_asyncio=True)
_watched: Any = _future_watcher_wrapper
_holder: Any = SocketHolder

_WORKERS: Final = {"asgi": ASGIWorker, "rsgi": RSGIWorker, "wsgi": WSGIWorker}
_LAST_HEAD: Final = 1.0  # s: for a request on a connection taken from the queue while stopping
_FILE_THREADS: Final = 512  # at most, for static files; made when needed
_IDLE_THREAD: Final = 30  # s a thread of the application is kept, but for the first
_CONNECTIONS: Final = 65_536  # at most, a child


def check_version() -> None:
    """Raise NameProblem for a granian whose internals are not those that this file knows."""
    if not __version__.startswith("2.8."):
        raise NameProblem(f"granian {__version__} found; granian>=2.8,<2.9 is needed", "type")


class Granian:
    """The engines of one child, one on each listener. `fileno` is readable once all are done."""

    def __init__(
        self,
        child: Child,
        options: ApplicationOptions,
        kind: str,
        callback: Callable[..., Any],
        *,
        threads: int = 1,
        websockets: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        # It logs each start and stop at INFO.
        logging.getLogger("_granian").setLevel(logging.WARNING)
        self._child = child
        self._options = options
        self._kind = kind
        self._threads = threads
        self._connections = _CONNECTIONS
        self._websockets = websockets
        self._loop = loop or _closed_loop()
        self._scheduler = _scheduler(self._loop, callback)
        self._signals: list[WorkerSignal] = []
        self._running = 0
        self._done = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """An eventfd(2)."""
        return self._done

    def take_at_most(self, connections: int) -> None:
        """Leave in the accept queue, for other children, what is beyond so many connections."""
        self._connections = connections

    def start(self) -> None:
        """Accept on every listener."""
        for listener in self._child.listeners:
            self._serve(listener, self._options.keep_alive)

    def has_waiting(self) -> bool:
        """True while the accept queues hold what nobody will serve after us."""
        return any(listener.has_waiting() for listener in self._child.ending_listeners())

    def stop(self) -> None:
        """Accept no more, close what is idle, finish the rest."""
        for signal in self._signals:
            signal.set()
        self._signals.clear()

    def takes_what_waits(self) -> bool:
        """Serve what is still in the accept queues; False when nothing is.

        A handshake that was under way when the door closed ends in the queue of an engine that has
        stopped: it needs another one.
        """
        os.eventfd_read(self._done)
        waiting = [one for one in self._child.ending_listeners() if one.has_waiting()]
        self._connections = _CONNECTIONS
        for listener in waiting:
            self._serve(listener, min(_LAST_HEAD, self._options.keep_alive))
        while self.has_waiting():
            os.sched_yield()  # for microseconds: its thread is about to accept
        self.stop()
        return bool(waiting)

    def _serve(self, listener: Listener, keep_alive: float) -> None:
        signal = WorkerSignal()
        signal.add_cb(self._finished)
        worker = self._worker(listener, keep_alive)
        method = "serve_mtr_uds" if listener.address.scheme == "unix" else "serve_mtr"
        self._running += 1
        getattr(worker, method)(self._scheduler, self._loop, signal)
        self._signals.append(signal)

    def _finished(self) -> None:
        """Called by an engine's thread; the interpreter's lock makes the count exact."""
        self._running -= 1
        if not self._running:
            os.eventfd_write(self._done, 1)

    def _worker(self, listener: Listener, keep_alive: float) -> Any:
        options = self._options
        # The engine closes its descriptor when it has finished; the listener stays ours.
        is_unix = listener.socket.family == socket.AF_UNIX
        holder = _holder(os.dup(listener.fileno()), is_unix, listener.backlog)
        http1 = HTTP1Settings(
            header_read_timeout=max(1, int((keep_alive or 30.0) * 1000)),
            keep_alive=keep_alive > 0,
            max_buffer_size=options.header_limit,
        )
        http2 = HTTP2Settings(max_headers_size=options.header_limit)
        websockets = () if self._kind == "wsgi" else (self._websockets,)
        static = (list(options.static.items()), None, None) if options.static else None
        return _WORKERS[self._kind](
            self._child.slot + 1,
            (None, holder),
            None,
            1,
            _FILE_THREADS,
            self._threads,
            _IDLE_THREAD,
            self._connections,
            options.http,
            http1,
            http2,
            *websockets,
            static,
            *_tls(options),
            (None, None),
        )


def _closed_loop() -> asyncio.AbstractEventLoop:
    """The engine asks for a loop even where the application is synchronous, and never runs it."""
    loop = asyncio.new_event_loop()
    loop.close()
    return loop


def _tls(options: ApplicationOptions) -> tuple[Any, ...]:
    """Enabled, certificate, key, password, minimum, CA, revocations, must the client show one."""
    tls = options.tls
    if tls is None:
        return (False, None, None, None, "tls1.3", None, [], False)
    authority = tls.client_ca or None
    minimum = f"tls{tls.minimum}"
    return (
        True,
        tls.certificate,
        tls.key or tls.certificate,
        None,
        minimum,
        authority,
        [],
        bool(authority),
    )


class Asynchronous:
    """Serves an ASGI or RSGI application; the engine's threads hand each request to the loop."""

    def __init__(
        self,
        child: Child,
        options: ApplicationOptions,
        kind: str,
        call: Callable[..., Any],
        loop: asyncio.AbstractEventLoop,
        *,
        websockets: bool,
    ) -> None:
        self._loop = loop
        self._engine = Granian(
            child,
            options,
            kind,
            _watched(call),
            websockets=websockets,
            loop=self._loop,
        )

    async def start(self) -> None:
        """Begin to accept."""
        self._engine.start()

    async def drain(self) -> None:
        """Accept nothing new, finish what is in hand; return when it is done."""
        while self._engine.has_waiting():
            await asyncio.sleep(0)  # for microseconds: the engine's thread is about to accept
        self._engine.stop()
        await self._done()
        while self._engine.takes_what_waits():
            await self._done()

    async def _done(self) -> None:
        done = asyncio.Event()
        self._loop.add_reader(self._engine.fileno(), done.set)
        await done.wait()
        self._loop.remove_reader(self._engine.fileno())


def asgi_call(
    application: Application, child: Child, root_path: str, state: dict[str, Any]
) -> Callable[[Any, Any], Coroutine[Any, Any, None]]:
    """What the engine calls with a scope and its own protocol object."""

    async def call(scope: Any, protocol: Any) -> None:
        scope["root_path"], scope["state"] = root_path, state.copy()

        def send(message: Any) -> Any:
            # A connection that was taken from the queue at the last moment is not told to close.
            is_start = message["type"] == "http.response.start"
            if is_start and child.stopping and scope["http_version"] != "2":
                closing = (b"connection", b"close")
                message = {**message, "headers": [*message.get("headers", ()), closing]}
            return protocol.send(message)

        await application(scope, protocol.receive, send)

    return call
