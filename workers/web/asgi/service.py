"""Shared by the connections of one child: options, the application, tables and limits."""

from __future__ import annotations

import asyncio
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, Final

from supervisor.child.child import Child
from supervisor.system.clock import wall_clock
from supervisor.workers.web import access_log
from supervisor.workers.web.asgi.deadlines import Deadlines
from supervisor.workers.web.asgi.waits import Waits
from supervisor.workers.web.forwarded import Trust
from supervisor.workers.web.http1 import Limits, date_line

if TYPE_CHECKING:
    from supervisor.workers.asgi import AsgiOptions
    from supervisor.workers.web.asgi.connection import Connection
    from supervisor.workers.web.asgi.served import Served
    from supervisor.workers.web.asgi.websocket import WebSocket

_LINGER: Final = 2.0  # s: for a client to read the last answer before its connection is cut
# All keys that a scope of HTTP has. `path`, `state` and the like are of each request.
_SCOPE: Final[dict[str, Any]] = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "method": "",
    "scheme": "http",
    "path": "",
    "raw_path": b"",
    "query_string": b"",
    "root_path": "",
    "headers": [],
    "client": None,
    "server": None,
    "state": {},
    "extensions": {
        "http.response.pathsend": {},
        "http.response.zerocopysend": {},
        "http.response.early_hint": {},
    },
}


class Service:
    """One of each child. `heads`, `idle`, `clients` and `ends` are connections by what they wait
    for: a head, the next request, a client that sends or takes a body, a client that hangs up.
    """

    def __init__(
        self,
        child: Child,
        options: AsgiOptions,
        application: Any,
        state: dict[str, Any],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.child = child
        self.options = options
        self.loop = loop
        self.create_task = loop.create_task
        self.state = state
        self.requests = child.served
        self.limits = Limits(options.header_limit, options.body_limit)
        self.log = access_log.log(options, child)
        is_introduced = options.proxy_protocol != "off"  # and nobody else judges where it is from
        self.trust = Trust(() if is_introduced else options.trusted_proxies)
        self.has_origins = bool(self.trust or options.root_path)
        self.request_id = options.request_id.lower().encode()
        self.is_last = not options.keep_alive  # each answer ends its connection
        self.ending = child.ending
        self.stopping = False
        self.connections: set[Connection] = set()  # those of HTTP
        self.sockets: set[WebSocket] = set()
        self.opening = 0  # connections that are accepted, and no more
        self.in_hand: set[Served] = set()
        self.streams = 0
        self.has_ended = asyncio.Event()  # something has, for who waits for the last one
        self.when_fewer: Any = None  # called when a connection has ended
        self.scope: dict[str, Any] = {
            **_SCOPE,
            "scheme": "https" if options.tls else "http",
        }
        patience = options.connection_timeout
        self.idle = Waits(loop, options.keep_alive or patience, _be_slow)
        self.heads = Waits(loop, patience, _be_slow)
        self.clients = Waits(loop, patience, _be_slow)
        self.ends = Waits(loop, _LINGER, _cut)
        timeout = child.place.request_timeout
        slow = child.worker.section.common.slow_request
        self.deadlines = Deadlines(self.requests, loop, timeout) if timeout else None
        self.slow = Waits(loop, slow, _tell_slow) if slow else None
        self.is_timed = bool(timeout or slow)
        # Called with scope, receive and send, to be awaited.
        self.call = self.deadlines.stepped(application) if self.deadlines else application

    def date(self) -> bytes:
        """The line of the header Date."""
        return date_line(wall_clock() // 1_000_000_000)

    def opened(self, connection: Connection) -> None:
        """It is one more."""
        self.connections.add(connection)
        self.note_connections()

    def closed(self, connection: Connection) -> None:
        """It is one less."""
        self.connections.discard(connection)
        self.note_connections()
        self.has_ended.set()

    @property
    def held(self) -> int:
        """How many connections are open."""
        return len(self.connections) + len(self.sockets) + self.opening

    def note_connections(self) -> None:
        """Let others see how many there are."""
        self.requests.hold(self.held, self.streams)
        if self.when_fewer is not None:
            self.when_fewer()

    def note_opening(self, number: int) -> None:
        """So many are accepted, and no more: others see them at once, and a child is not ahead of
        the mean by its own newest.
        """
        self.opening = number
        self.requests.hold(self.held, self.streams)

    def stream(self, more: int) -> None:
        """So many more answers go on for long."""
        self.streams += more
        self.requests.hold(self.held, self.streams)

    def count_refusal(self, status: int) -> None:
        """A request that never reached the application."""
        self.requests.account(None, True, status)

    def ended(self, one: Served) -> None:
        """It is no longer in hand: for the log, and for who waits for the last one."""
        if self.stopping:
            self.has_ended.set()
        if self.log is not None:
            self._log(self.log, one)

    def _log(self, log: access_log.Log, one: Served) -> None:
        request, client = one.request, one.scope["client"]
        served = access_log.Served(
            client=client[0] if client else "",
            method=request.method,
            target=request.raw_target.decode("latin-1"),
            protocol="HTTP/1.1" if request.is_http11 else "HTTP/1.0",
            status=one.status,
            size=one.size,
            fields=request.named,
            request_id=one.identity.decode("latin-1"),
        )
        seconds = (monotonic_ns() - one.begun) / 1e9
        log.write(wall_clock() / 1e9 - seconds, seconds, served)


def _be_slow(connection: Connection | WebSocket) -> None:
    connection.be_slow()


def _cut(connection: Connection | WebSocket) -> None:
    connection.cut()


def _tell_slow(one: Served) -> None:
    one.tell_slow()
