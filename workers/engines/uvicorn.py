"""The engine uvicorn in a child: its protocol classes on our listening sockets, without its own
server, whose main loop ticks.
"""

from __future__ import annotations

import asyncio
import logging
import select
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from supervisor.child.child import Child
from supervisor.system import tls
from supervisor.system.clock import wall_clock
from supervisor.system.listeners import Listener

if TYPE_CHECKING:
    from supervisor.workers.asgi import AsgiOptions
    from supervisor.workers.web.middleware import Application

_HEAD_TIMEOUT: Final = 30.0  # s, where connections are not kept alive
_TOO_LARGE: Final = b"\r\n".join(
    (b"HTTP/1.1 431 Request Header Fields Too Large", b"content-length: 0", b"connection: close")
)


class Uvicorn:
    """Accepts on all listeners of a child and drains."""

    def __init__(
        self,
        child: Child,
        options: AsgiOptions,
        application: Application,
        state: dict[str, Any],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._child = child
        self._loop = loop
        self._tls = tls.context(options.tls) if options.tls else None
        self._state = _State(child)
        self._lifespan_state = state
        self._config = Config(
            application,
            http=HttpToolsProtocol,
            ws=WebSocketsSansIOProtocol if options.websockets else "none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            root_path=options.root_path,
            timeout_keep_alive=options.keep_alive,  # type: ignore[arg-type]
            h11_max_incomplete_event_size=options.header_limit,
        )
        logging.getLogger("uvicorn.error").addFilter(_is_worth_a_line)
        self._config.load()
        self._servers: list[asyncio.AbstractServer] = []

    async def start(self) -> None:
        """Begin to accept."""
        for listener in self._child.listeners:
            server = await self._loop.create_server(
                self._new_protocol,
                sock=listener.socket.dup(),
                backlog=listener.backlog,
                ssl=self._tls,
            )
            self._servers.append(server)

    async def drain(self) -> None:
        """Accept nothing new, finish what is in hand; return when it is done."""
        for server in self._servers:
            server.close()
        await asyncio.gather(
            *(self._take(one) for one in self._child.ending_listeners()), return_exceptions=True
        )
        connections = self._state.connections
        for connection in list(connections):
            if not _has_more_to_say(connection):
                connection.shutdown()
        while connections:
            await connections.emptied()
        while self._state.tasks:
            await asyncio.wait(self._state.tasks)

    async def _take(self, listener: Listener) -> None:
        """Accept what waits in the queue."""
        while (accepted := listener.accept()) is not None:
            accepted[0].setblocking(False)
            await self._loop.connect_accepted_socket(self._new_protocol, accepted[0], ssl=self._tls)

    def _new_protocol(self) -> _Http:
        return _Http(self._config, self._state, self._lifespan_state, self._loop)


class _Connections(set[Any]):
    """The open connections; tells when the last one is gone."""

    def __init__(self) -> None:
        super().__init__()
        self._emptied: asyncio.Event | None = None

    async def emptied(self) -> None:
        """Wait for that."""
        self._emptied = asyncio.Event()
        if self:
            await self._emptied.wait()

    def discard(self, connection: Any) -> None:
        super().discard(connection)
        if not self and self._emptied is not None:
            self._emptied.set()

    remove = discard


class _State(ServerState):
    """What the connections share. The Date header is renewed when it is used, not by a tick."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self._second = 0
        self._headers: list[tuple[bytes, bytes]] = []
        super().__init__()
        self.connections: _Connections = _Connections()

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """Server and Date."""
        now = wall_clock() // 1_000_000_000
        if now != self._second:
            self._second = now
            date = formatdate(now, usegmt=True).encode()
            self._headers = [(b"date", date), (b"server", b"supervisor")]
        return self._headers

    @default_headers.setter
    def default_headers(self, _: list[tuple[bytes, bytes]]) -> None:
        """What ServerState begins with."""


class _Http(HttpToolsProtocol):
    """One connection. Added: a limit and a deadline for a request's head, and the last response."""

    server_state: _State
    _head = 0  # bytes of it so far
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        scope = self.scope
        if scope is not None and "method" in scope:
            return
        self._head += len(data)
        if self._head > (self.config.h11_max_incomplete_event_size or self._head):
            self.transport.write(_TOO_LARGE + b"\r\n\r\n")
            self.transport.close()
        elif self._head_timer is None:
            self._await_head()

    def _await_head(self) -> None:
        timeout = self.timeout_keep_alive or _HEAD_TIMEOUT
        self._head_timer = self.loop.call_later(timeout, self.transport.close)

    def on_headers_complete(self) -> None:
        self._head = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        super().on_headers_complete()
        is_last = self.server_state.child.stopping or not self.timeout_keep_alive
        if is_last and self.cycle is not None:
            self.cycle.keep_alive = False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().connection_lost(exc)


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Not the engine's own below ERROR: a line for each WebSocket and for each malformed request of
    a stranger. Applications use this logger too.
    """
    return record.levelno >= logging.ERROR or "/uvicorn/" not in record.pathname


def _has_more_to_say(connection: Any) -> bool:
    """True for an idle connection whose next request has arrived but was not read yet."""
    if not isinstance(connection, _Http):
        return False
    if connection.cycle is not None and not connection.cycle.response_complete:
        return False
    sock = connection.transport.get_extra_info("socket")
    ready = select.poll()
    ready.register(sock.fileno(), select.POLLIN)
    return bool(ready.poll(0))
