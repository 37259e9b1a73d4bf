"""The engine granian in a child, without its own server: HTTP/2, and the interface `rsgi`.

Built on granian's internals of 2.8 (granian/server/mp.py shows their use): nothing of it runs in
the master, where a thread would not survive the fork. Its thread accepts by itself, so what it has
accepted is seen from outside (system/watched).
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import socket
from collections.abc import Callable, Iterator
from functools import partial
from time import monotonic
from typing import Any, Final

from granian._futures import _future_watcher_wrapper, _new_cbscheduler
from granian._granian import ASGIWorker, RSGIWorker, SocketHolder, WorkerSignal, __version__
from granian.http import HTTP1Settings, HTTP2Settings

from supervisor.errors import NameProblem
from supervisor.system import descriptors, watched
from supervisor.system.listeners import Listener
from supervisor.workers.engines.calls import Service
from supervisor.workers.web.application import ApplicationOptions
from supervisor.workers.web.bounds import time_to_stop

# Untyped, or typed for an older version.
_scheduler: Any = partial(_new_cbscheduler, impl_asyncio=True)
_watched: Any = _future_watcher_wrapper  # tells the engine when a coroutine function has ended
_holder: Any = SocketHolder

_WORKERS: Final[dict[str, Any]] = {"asgi": ASGIWorker, "rsgi": RSGIWorker}
_HEAD: Final = 30.0  # s: for a request's head, where connections are not kept
_THREADS: Final = 512  # at most, of the engine, for files; made when needed
_IDLE_THREAD: Final = 30  # s
_RESERVE: Final = 32  # descriptors that are for all else
_FULL: Final = 1.0  # s that a client waits before room is made for it
_TO_CLOSE: Final = 64  # idle connections at once
_ON_THE_WAY: Final = 1.0  # s for the request of a client that may have sent it already
_LOOK: Final = 0.01  # s: nothing tells that the engine has read what came
_PATIENCE: Final = 1.0  # s between the order to end and the end of what goes on nevertheless


def check_version() -> None:
    """Raise NameProblem for a granian whose internals are not those that this file knows."""
    if not __version__.startswith("2.8."):
        raise NameProblem(f"granian {__version__} found; granian>=2.8,<2.9 is needed", "type")


class Granian:
    """The engine of one child: a worker of granian on each listener, on one event loop. `call` is a
    coroutine function of a scope and granian's own protocol object.
    """

    def __init__(self, service: Service, kind: str, call: Callable[..., Any]) -> None:
        # It logs each start and stop at INFO.
        logging.getLogger("_granian").setLevel(logging.WARNING)
        self._service = service
        self._child = service.child
        self._loop = service.loop
        self._kind = kind
        self._scheduler = _scheduler(service.loop, _watched(call))
        self._signals: list[WorkerSignal] = []
        self._running = 0
        # The engine's descriptor of each listener; it closes it when it has finished.
        self._doors = {os.dup(one.fileno()): one for one in self._child.listeners}
        self._epolls: dict[int, int] = {}  # of each of these, where it is watched
        free = descriptors.limit() - len(os.listdir("/proc/self/fd")) - _RESERVE
        self._at_most = max(1, free // len(self._doors))
        self._queue = select.epoll()
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Begin to accept."""
        for door, listener in self._doors.items():
            signal = WorkerSignal()
            signal.add_cb(partial(self._loop.call_soon_threadsafe, self._finished))
            method = "serve_mtr_uds" if listener.address.scheme == "unix" else "serve_mtr"
            self._running += 1
            getattr(self._worker(door, listener), method)(self._scheduler, self._loop, signal)
            self._signals.append(signal)
            self._queue.register(listener.fileno(), select.EPOLLIN | select.EPOLLEXCLUSIVE)
        self._watch_queue()

    def _finished(self) -> None:
        self._running -= 1
        self._service.news.set()

    def _worker(self, door: int, listener: Listener) -> Any:
        options = self._service.options
        keep_alive = options.keep_alive
        http1 = HTTP1Settings(
            header_read_timeout=max(1, int((keep_alive or _HEAD) * 1000)),
            keep_alive=keep_alive > 0,
            max_buffer_size=options.header_limit,
        )
        is_unix = listener.socket.family == socket.AF_UNIX
        return _WORKERS[self._kind](
            self._child.slot + 1,
            (None, _holder(door, is_unix, listener.backlog)),
            None,
            1,
            _THREADS,
            1,
            _IDLE_THREAD,
            self._at_most,
            options.http,
            http1,
            HTTP2Settings(max_headers_size=options.header_limit),
            getattr(options, "websockets", False),
            None,
            *_tls(options),
            (None, None),
        )

    # A client that waits because this child has no descriptor left.

    def _watch_queue(self) -> None:
        self._timer = None
        self._loop.add_reader(self._queue.fileno(), self._see_client)

    def _see_client(self) -> None:
        """Somebody waits, most likely for an instant only: look again later."""
        self._loop.remove_reader(self._queue.fileno())
        self._timer = self._loop.call_later(_FULL, self._see_queue)

    def _see_queue(self) -> None:
        if any(listener.has_waiting() for listener in self._child.listeners):
            self._make_room()
        self._watch_queue()

    def _make_room(self) -> None:
        """Close the connections that are idle for the longest time, where there are no more."""
        busy = self._service.clients()
        for door in self._doors:
            held = list(self._connections(door))
            if len(held) >= self._at_most:
                idle = [one for one in held if one.peer and one.peer not in busy]
                idle.sort(key=lambda one: -one.silent)
                for one in idle[:_TO_CLOSE]:
                    watched.hang_up(one)

    def _connections(self, door: int) -> Iterator[watched.Connection]:
        """Those that the engine has accepted there and not closed."""
        epoll = self._epolls.get(door) or watched.epoll_of(door)
        if epoll is not None:
            self._epolls[door] = epoll
            yield from watched.connections(epoll, self._doors[door].socket)

    # The stop.

    async def drain(self) -> None:
        """Accept nothing new, finish what is in hand. Returns in time for the lifespan's shutdown,
        which has at most a second, or a fifth of stop_timeout.
        """
        service, timeout = self._service, self._child.place.stop_timeout
        ends_at = monotonic() + timeout - min(1.0, timeout / 5)
        service.stopping = True
        is_hurried = not self._child.others_serve
        streams_end_at = monotonic() + time_to_stop(self._child, service.options.stream_timeout)
        self._stop_watching()
        await service.restart()
        await self._let_come(is_hurried)
        await service.restart()  # those that came meanwhile
        while self._signals:
            self._signals.pop().set()
        await self._until(self._has_ended, min(streams_end_at, ends_at))
        for one in list(service.in_hand):
            one.disconnect()
        await self._until(service.is_idle, min(monotonic() + _PATIENCE, ends_at))
        service.cancel_begun()
        await self._until(service.is_idle, ends_at)
        await service.cancel_all()
        await self._until(self._has_sent, ends_at, _LOOK)

    def _stop_watching(self) -> None:
        if self._timer is None:
            self._loop.remove_reader(self._queue.fileno())
        else:
            self._timer.cancel()
        self._queue.close()

    async def _let_come(self, is_hurried: bool) -> None:
        """Return when each client whose connection was made has asked.

        The engine closes a connection of which it has read nothing when it is told to stop. One
        that came a moment before may have its request on the way. So the listener is taken out of
        the engine's epoll first: it hears of no new client, and those it has are waited for. A
        listener that ends with us is first emptied.
        """
        ending = self._child.ending_listeners()
        by = monotonic() + _ON_THE_WAY

        def is_empty() -> bool:
            waits = any(listener.has_waiting() for listener in ending)
            if waits:
                self._make_room()
            return not waits

        await self._until(is_empty, by if is_hurried else monotonic(), _LOOK)
        for door in self._doors:
            epoll = self._epolls.get(door) or watched.epoll_of(door)
            if epoll is not None:
                self._epolls[door] = epoll
                watched.forget(epoll, door)
        await self._until(lambda: not any(self._awaited(is_hurried)), by, _LOOK)

    def _awaited(self, is_hurried: bool) -> Iterator[watched.Connection]:
        """Connections with a request on its way: what they said was not read, or they were made a
        moment ago and have said nothing. Over TLS what they said may be no request. Where others
        serve already, those that are kept may have one too.
        """
        busy, is_tls = self._service.clients(), self._service.options.tls is not None
        for door in self._doors:
            for one in self._connections(door):
                may_ask = not is_hurried or is_tls or not one.spoke
                is_new = may_ask and one.silent < _ON_THE_WAY
                if one.peer not in busy and (one.unread or is_new):
                    yield one

    def _has_ended(self) -> bool:
        return not self._running and self._service.is_idle()

    def _has_sent(self) -> bool:
        """No answer is on its way; what remains are clients that have not asked."""
        held = (one for door in self._doors for one in self._connections(door))
        return not self._running or not any(one.unsent for one in held)

    async def _until(self, is_so: Callable[[], bool], instant: float, look: float = 0.0) -> None:
        """Return when it is so, or at `instant`. It is looked at when something has ended, and
        every `look` s.
        """
        news = self._service.news
        while not is_so() and (left := instant - monotonic()) > 0:
            news.clear()
            timer = self._loop.call_later(min(left, look or left), news.set)
            await news.wait()
            timer.cancel()


def _tls(options: ApplicationOptions) -> tuple[Any, ...]:
    """Enabled, certificate, key, password, minimum, CA, revocations, must the client show one."""
    tls = options.tls
    if tls is None:
        return (False, None, None, None, "tls1.3", None, [], False)
    key, authority = tls.key or tls.certificate, tls.client_ca or None
    minimum = f"tls{tls.minimum}"
    return (True, tls.certificate, key, None, minimum, authority, [], bool(authority))
