"""Which connections this child takes.

All children of a section wait for the same listeners, in an epoll of their own that the event loop
watches. A child that holds clearly more than its share looks away for a moment, so that another one
takes what waits; one that has no descriptor left looks away until it has.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from typing import Any, Final

from supervisor.system import descriptors
from supervisor.system.listeners import Listener, Peer
from supervisor.workers.web.asgi.connection import Connection
from supervisor.workers.web.asgi.service import Service
from supervisor.workers.web.proxy_header import Header, Introduction, Proxies

_AT_ONCE: Final = 64  # connections of one listener, before the loop does something else
_LOOK_AWAY: Final = 0.005  # s
_MORE: Final = 4  # connections, and a part of the mean, that a child may be ahead
_PART: Final = 1 / 32  # a quarter would leave the last child with much less than the others
_RESERVE: Final = 32  # descriptors that are for all else
_FULL: Final = 1.0  # s without a free descriptor, after which idle connections are closed
_TO_CLOSE: Final = 16  # of them at once
_LAST_WORDS: Final = 1.0  # s for what comes before a request, once we were told to stop


class Arrivals:
    """The listeners of one child, on its loop."""

    def __init__(
        self, service: Service, context: ssl.SSLContext | None, proxies: Proxies | None
    ) -> None:
        self._service = service
        self._proxies = proxies
        self._loop = service.loop
        self._context = context
        self._listeners = {one.fileno(): one for one in service.child.listeners}
        self._servers = {one: _server(one) for one in service.child.listeners}
        self._epoll = select.epoll()
        self._block = service.child.block
        self._at_most = max(1, descriptors.limit() - _RESERVE)
        self._is_watching = False
        self._has_waited = False
        self._full: asyncio.TimerHandle | None = None
        self._opening: set[asyncio.Task[Any]] = set()

    def start(self) -> None:
        """Begin to accept."""
        for descriptor in self._listeners:
            self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLEXCLUSIVE)
        self._service.when_fewer = self._have_room
        self._watch()

    def stop(self) -> None:
        """Accept nothing more."""
        self._look_away()
        self._service.when_fewer = None
        if self._full is not None:
            self._full.cancel()
        self._epoll.close()

    def take_what_waits(self) -> None:
        """Accept all that is in the queues of listeners which nobody serves after us."""
        for listener in self._service.child.ending_listeners():
            while (accepted := listener.accept()) is not None:
                self._open(listener, *accepted)

    async def opened(self) -> None:
        """Return when what was accepted has become a connection; what takes longer is ended."""
        if self._opening:
            _, late = await asyncio.wait(self._opening, timeout=_LAST_WORDS)
            for task in late:
                task.cancel()

    def _watch(self) -> None:
        if not self._is_watching:
            self._is_watching = True
            self._loop.add_reader(self._epoll.fileno(), self._accept)

    def _look_away(self) -> None:
        if self._is_watching:
            self._is_watching = False
            self._loop.remove_reader(self._epoll.fileno())

    def _accept(self) -> None:
        if not self._has_waited and self._is_ahead():
            self._look_away()
            self._loop.call_later(_LOOK_AWAY, self._look_again)
            return
        self._has_waited = False
        for descriptor, _ in self._epoll.poll(0):
            self._accept_on(self._listeners[descriptor])

    def _is_ahead(self) -> bool:
        """True where others should come first."""
        held = self._service.held
        if held <= _MORE:
            return False
        return held > self._block.mean_connections() * (1 + _PART) + _MORE

    def _look_again(self) -> None:
        """Who waits now is ours."""
        if not (self._epoll.closed or self._full):
            self._has_waited = True
            self._watch()

    def _accept_on(self, listener: Listener) -> None:
        for _ in range(_AT_ONCE):
            accepted = listener.accept()
            if accepted is None:
                return
            is_crowded = accepted[0].fileno() >= self._at_most
            self._open(listener, *accepted)
            if is_crowded:
                self._be_full()
                return
            if self._service.held > _MORE and self._is_ahead():
                return

    def _open(self, listener: Listener, sock: socket.socket, peer: Peer) -> None:
        """Make a transport of it. Without TLS all is done before the loop's coroutine waits for the
        first time, and it would only wait for `connection_made`.
        """
        is_unix = isinstance(peer, (str, bytes))
        client = None if is_unix else (peer[0], peer[1])
        connection = Connection(self._service, client, self._servers[listener] or _local(sock))
        sock.setblocking(False)
        task = self._loop.create_task(self._connect(connection, sock))
        self._opening.add(task)
        self._service.note_opening(len(self._opening))
        task.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[Any]) -> None:
        self._opening.discard(task)
        self._service.note_opening(len(self._opening))

    async def _connect(self, connection: Connection, sock: socket.socket) -> None:
        try:
            if self._proxies is not None:
                await self._introduce(connection, sock, self._proxies)
            await self._loop.connect_accepted_socket(
                lambda: connection,
                sock,
                ssl=self._context,
                ssl_handshake_timeout=self._service.options.connection_timeout
                if self._context
                else None,
            )
        except OSError as error:
            client = connection.scope["client"]
            facts = {"peer": client[0] if client else None, "error": str(error)}
            self._service.child.log.info("connection refused", extra=facts)

    async def _introduce(
        self, connection: Connection, sock: socket.socket, proxies: Proxies
    ) -> None:
        """The header of its proxy says who the client is."""
        client = connection.scope["client"]
        introduction = proxies.introduction(client[0] if client else "")
        try:
            async with asyncio.timeout(self._service.options.connection_timeout):
                header = await _received(self._loop, introduction, sock)
        except BaseException as error:
            sock.close()
            if isinstance(error, OSError):
                self._service.requests.account(None, True)
            raise
        if header.source is not None:
            connection.scope["client"] = header.source if header.source[0] else None

    # Descriptors.

    def _be_full(self) -> None:
        """No descriptor is left for more. Others may have some; where none comes free here within a
        second, those who wait are worth more than connections that say nothing.
        """
        self._look_away()
        if self._full is None:
            self._full = self._loop.call_later(_FULL, self._close_idle)

    def _close_idle(self) -> None:
        for connection in list(self._service.idle)[:_TO_CLOSE]:
            connection.close_idle()
        self._full = self._loop.call_later(_FULL, self._close_idle)

    def _have_room(self) -> None:
        """A connection has ended; its descriptor is closed by the loop a moment later."""
        if self._full is not None:
            self._loop.call_soon(self._be_full_no_more)

    def _be_full_no_more(self) -> None:
        if self._full is None or descriptors.lowest_free() >= self._at_most:
            return
        self._full.cancel()
        self._full = None
        if not self._epoll.closed:
            self._watch()


async def _received(
    loop: asyncio.AbstractEventLoop, introduction: Introduction, sock: socket.socket
) -> Header:
    readable = asyncio.Event()
    while True:
        try:
            header = introduction.receive(sock)
            if header is not None:
                return header
        except BlockingIOError:
            loop.add_reader(sock.fileno(), readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(sock.fileno())
            readable.clear()


def _server(listener: Listener) -> tuple[str, int | None] | None:
    """The server's address in a scope; None where each connection has its own."""
    if listener.address.scheme == "unix":
        return listener.address.path, None
    host, port = listener.socket.getsockname()[:2]
    return None if host in ("0.0.0.0", "::") else (host, port)


def _local(sock: socket.socket) -> tuple[str, int]:
    host, port = sock.getsockname()[:2]
    return host, port
