"""Type `tcp`: one connection at a time, over tcp or a unix socket, served by a user's function."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import termios
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

from msgspec import Meta

from supervisor.child.child import Child
from supervisor.child.names import load_object
from supervisor.child.worker import Worker
from supervisor.config.schema import (
    Connection,
    Options,
    ProxyProtocol,
    TlsOptions,
    TlsTable,
    TrustedProxies,
)

if TYPE_CHECKING:
    from supervisor.workers.web.proxy_header import Proxies
    from supervisor.workers.web.tls import Tls

_CHUNK: Final = 65_536
_NOTHING: Final = bytes(4)  # the int that FIONREAD fills, ioctl_tty(2)
_UNREAD_CHUNKS: Final = 64  # a peer that never stops sending must not keep the child


class StreamOptions(Options, frozen=True):
    """Options of type `tcp`."""

    handler: Annotated[
        str,
        Meta(
            description="package.module:function, called as function(connection, address)",
            examples=["supervisor.workers.echo:stream"],
        ),
    ]
    connection_timeout: Connection = 60.0
    tls: TlsTable = None
    proxy_protocol: ProxyProtocol = "off"
    trusted_proxies: TrustedProxies = ()


class Tcp(Worker):
    """Calls `handler(connection, address)` for each connection, and closes it afterwards."""

    Options: ClassVar[type[Options]] = StreamOptions
    schemes: ClassVar[frozenset[str]] = frozenset({"tcp", "unix"})
    needs_listener = True

    def preload(self) -> None:
        self._serve = load_object(self.options.handler, "handler")
        self._tls = load_tls(self.options.tls)
        self._proxies = load_proxies(self.options)

    def run(self, child: Child) -> None:
        timeout = self.options.connection_timeout
        for connection, address in child.connections():
            self._answer(child, connection, address, timeout)

    def _answer(
        self, child: Child, connection: socket.socket, address: Any, timeout: float
    ) -> None:
        """One connection is one request; whatever the handler raises is an error of that
        request. To wait for the header of a proxy is not the handler's time.
        """
        try:
            if self._proxies is not None:
                address = self._introduced(child, self._proxies, connection, address)
            with child.request():
                connection.settimeout(timeout)
                if self._tls is not None:
                    connection = self._tls.secure(connection, timeout)
                self._serve(connection, address)
        except (Exception, SystemExit) as error:
            log_failure(child, error, address)
        finally:
            hang_up(connection)

    def _introduced(
        self, child: Child, proxies: Proxies, connection: socket.socket, address: Any
    ) -> Any:
        """The client's address, as its proxy tells it; the proxy's own where it tells none."""
        peer = address[0] if isinstance(address, tuple) else ""
        introduction = proxies.introduction(peer)
        try:
            header = introduction.wait(child, connection, self.options.connection_timeout)
        except OSError:
            child.served.account(None, True)
            raise
        return header.source or address


def load_proxies(options: StreamOptions) -> Proxies | None:
    """As `load_tls`, for the proxies that introduce clients. Raises NameProblem."""
    if options.proxy_protocol == "off":
        return None
    from supervisor.workers.web.proxy_header import proxies

    return proxies(options.proxy_protocol, options.trusted_proxies)


def load_tls(options: TlsOptions | None) -> Tls | None:
    """The shared side of TLS; None where it is not wanted, and then not even imported. Raises
    NameProblem.
    """
    if options is None:
        return None
    from supervisor.workers.web.tls import Tls

    return Tls(options)


def log_failure(child: Child, error: BaseException, address: Any) -> None:
    """A client that went away or fell silent is one line; anything else is the handler's
    traceback.
    """
    facts = {"peer": peer_of(address)}
    if isinstance(error, ConnectionError | TimeoutError):
        what = f"{type(error).__name__}: {error}"
        child.log.info("request failed", extra={**facts, "error": what})
    else:
        child.log.error("request failed", exc_info=error, extra=facts)


def peer_of(address: Any) -> str | None:
    """`192.0.2.7:5060`, `[2001:db8::7]:5060`; None on a unix socket, whose clients have none."""
    if not isinstance(address, tuple):
        return None
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def hang_up(connection: socket.socket) -> None:
    """Close; what came and was not read would make the kernel reset the connection, answer and
    all.
    """
    with contextlib.suppress(OSError):
        descriptor = connection.fileno()  # -1: the handler has closed it
        if descriptor >= 0 and fcntl.ioctl(descriptor, termios.FIONREAD, _NOTHING) != _NOTHING:
            _read_away(connection)
    connection.close()


def _read_away(connection: socket.socket) -> None:
    """Take what has come, but not for ever what goes on coming."""
    connection.setblocking(False)
    for _ in range(_UNREAD_CHUNKS):
        if not connection.recv(_CHUNK):
            break
