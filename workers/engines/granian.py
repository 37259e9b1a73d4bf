"""The engine granian in a child: its workers on our listening sockets, without its own server, for
HTTP/2 and `rsgi`.

Built on granian's internals of 2.8 (granian/server/mp.py shows their use): nothing of it runs in
the master, where a thread would not survive the fork.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

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

from supervisor.child.child import Child
from supervisor.errors import NameProblem
from supervisor.system.descriptors import is_readable
from supervisor.system.listeners import Listener
from supervisor.workers.engines.sockets import Sockets
from supervisor.workers.web.application import ApplicationOptions

# Untyped, or typed for an older version.
_scheduler: Any = partial(_new_cbscheduler, impl_asyncio=True)
watched: Any = _future_watcher_wrapper  # tells the engine when a coroutine function has ended
_holder: Any = SocketHolder

_WORKERS: Final = {"asgi": ASGIWorker, "rsgi": RSGIWorker, "wsgi": WSGIWorker}
_HEAD: Final = 30.0  # s: for a request's head, where connections are not kept
_LAST_HEAD: Final = 1.0  # s: for a request on a connection taken from the queue while stopping
ACCEPTED_WITHIN: Final = 0.01  # s: in this time an idle engine has accepted what waits
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
        self._websockets = websockets
        self._loop = loop or _closed_loop()
        self._scheduler = _scheduler(self._loop, callback)
        self._last_scheduler = _scheduler(self._loop, self._noted(callback))
        self._signals: list[WorkerSignal] = []
        self._running = 0
        self._done = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._begun = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """An eventfd(2)."""
        return self._done

    @property
    def begun(self) -> int:
        """An eventfd(2), readable once a request of those that waited has begun."""
        return self._begun

    def start(
        self, at_most: int = _CONNECTIONS, callback: Callable[..., Any] | None = None
    ) -> None:
        """Accept on every listener, at most so many connections at a time on each; `callback`
        stands in for the one that was given.
        """
        scheduler = _scheduler(self._loop, callback) if callback else self._scheduler
        for listener in self._child.listeners:
            self._serve(listener, at_most, scheduler)

    def stop(self) -> None:
        """Accept no more, close what is idle, finish the rest."""
        while self._signals:
            with suppress(IndexError):  # a thread of the engine may be here too
                self._signals.pop().set()

    def wait_until_done(self) -> None:
        """Return when all is finished after a stop. Main thread."""
        while self._running:  # engines that ended before others began have written too
            while not is_readable(self._done):
                self._child.wakeup.wait(None, self._done)
            os.eventfd_read(self._done)

    def drain(self, at_most: int) -> None:
        """Accept nothing new, finish what is in hand, then what waits, so many at a time. For a
        main thread that only waits for signals.
        """
        self.stop()
        self.wait_until_done()
        while self.takes_what_waits(at_most):
            self._child.wakeup.wait(ACCEPTED_WITHIN, self._begun)
            self.stop()
            self.wait_until_done()

    def takes_what_waits(self, at_most: int = _CONNECTIONS) -> bool:
        """Once all are done: serve what is still in the accept queues; False when nothing is.

        Stop when a request has begun. Where none has after ACCEPTED_WITHIN, another child was
        faster, or who waits says nothing.
        """
        for told in (self._done, self._begun):
            with suppress(BlockingIOError):
                os.eventfd_read(told)
        waiting = [one for one in self._child.ending_listeners() if one.has_waiting()]
        for listener in waiting:
            self._serve(listener, at_most, self._last_scheduler, is_last=True)
        return bool(waiting)

    def _noted(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        def note(*arguments: Any) -> Any:
            os.eventfd_write(self._begun, 1)
            return callback(*arguments)

        return note

    def _serve(
        self, listener: Listener, at_most: int, scheduler: Any, *, is_last: bool = False
    ) -> None:
        signal = WorkerSignal()
        signal.add_cb(self._finished)
        keep_alive = 0.0 if is_last else self._options.keep_alive
        timeout = _LAST_HEAD if is_last else keep_alive or _HEAD
        worker = self._worker(listener, at_most, keep_alive > 0, timeout)
        method = "serve_mtr_uds" if listener.address.scheme == "unix" else "serve_mtr"
        self._running += 1
        getattr(worker, method)(scheduler, self._loop, signal)
        self._signals.append(signal)

    def _finished(self) -> None:
        """Called by an engine's thread; the interpreter's lock makes the count exact."""
        self._running -= 1
        if not self._running:
            os.eventfd_write(self._done, 1)

    def _worker(self, listener: Listener, at_most: int, keep_alive: bool, timeout: float) -> Any:
        options = self._options
        # The engine closes its descriptor when it has finished; the listener stays ours.
        is_unix = listener.socket.family == socket.AF_UNIX
        holder = _holder(os.dup(listener.fileno()), is_unix, listener.backlog)
        http1 = HTTP1Settings(
            header_read_timeout=max(1, int(timeout * 1000)),
            keep_alive=keep_alive,
            max_buffer_size=options.header_limit,
        )
        http2 = HTTP2Settings(max_headers_size=options.header_limit)
        websockets = () if self._kind == "wsgi" else (self._websockets,)
        static = (_mounts(options), None, None) if options.static else None
        return _WORKERS[self._kind](
            self._child.slot + 1,
            (None, holder),
            None,
            1,
            _FILE_THREADS,
            self._threads,
            _IDLE_THREAD,
            at_most,
            options.http,
            http1,
            http2,
            *websockets,
            static,
            *_tls(options),
            (None, None),
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
        sockets: Sockets,
        *,
        websockets: bool,
    ) -> None:
        self._loop = loop
        self._sockets = sockets
        self._engine = Granian(
            child,
            options,
            kind,
            watched(call),
            websockets=websockets,
            loop=self._loop,
        )

    async def start(self) -> None:
        """Begin to accept."""
        self._engine.start()

    async def drain(self) -> None:
        """Accept nothing new, finish what is in hand; return when it is done."""
        await self._sockets.close()
        self._engine.stop()
        await self._readable(self._engine.fileno())
        while self._engine.takes_what_waits():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._readable(self._engine.begun), ACCEPTED_WITHIN)
            self._engine.stop()
            await self._readable(self._engine.fileno())
        await self._sockets.ended()

    async def _readable(self, descriptor: int) -> None:
        ready = asyncio.Event()
        self._loop.add_reader(descriptor, ready.set)
        try:
            await ready.wait()
        finally:
            self._loop.remove_reader(descriptor)


def _closed_loop() -> asyncio.AbstractEventLoop:
    """The engine asks for a loop even where the application is synchronous, and never runs it."""
    loop = asyncio.new_event_loop()
    loop.close()
    return loop


def _mounts(options: ApplicationOptions) -> list[tuple[str, str]]:
    """Prefixes and directories as the engine compares them: it resolves links in a path before it
    looks whether that is below the directory.
    """
    mounts = options.static.items()
    return [(prefix.rstrip("/"), str(Path(directory).resolve())) for prefix, directory in mounts]


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
