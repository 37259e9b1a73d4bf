"""Type `udp`: many children on one datagram socket, a user's function answers."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, ClassVar, Final

from msgspec import Meta

from supervisor.child.child import Child
from supervisor.child.names import load_object
from supervisor.child.worker import Worker
from supervisor.config.schema import Options
from supervisor.workers.tcp import peer_of

_LARGEST: Final = 65_535
_SEND_TIMEOUT: Final = 1_000  # ms that a full send buffer may take to drain
_EVERYWHERE: Final = ("0.0.0.0", "::")
_IP_PKTINFO: Final = 8  # linux/in.h; ip(7), ipv6(7)
_IPV6_PKTINFO: Final = 50
_PKTINFO_SPACE: Final = socket.CMSG_SPACE(20)

Ancillary = list[tuple[int, int, bytes]]
Datagram = tuple[bytes, Any, Ancillary | None]  # data, peer, and where its answer leaves from


class DatagramOptions(Options, frozen=True):
    """Options of type `udp`."""

    handler: Annotated[
        str,
        Meta(
            description="package.module:function; function(data, address) gives bytes, or None",
            examples=["supervisor.workers.echo:datagram"],
        ),
    ]


class Udp(Worker):
    """Calls `handler(data, address)` for each datagram; bytes that it returns are the answer."""

    Options: ClassVar[type[Options]] = DatagramOptions
    schemes: ClassVar[frozenset[str]] = frozenset({"udp"})
    needs_listener = True

    def preload(self) -> None:
        self._reply = load_object(self.options.handler, "handler")

    def run(self, child: Child) -> None:
        everywhere = [one for one in child.listeners if one.address.host in _EVERYWHERE]
        for listener in everywhere:
            _ask_for_destination(listener.socket)
        buffer = memoryview(bytearray(_LARGEST))
        for listener in child.wait():
            receive = partial(
                _receive_told if listener in everywhere else _receive, listener.socket, buffer
            )
            self._drain(child, listener.socket, receive)

    def _drain(self, child: Child, sock: socket.socket, receive: Callable[[], Datagram]) -> None:
        """Answer what is there, until nothing is or we are told to stop."""
        with contextlib.suppress(BlockingIOError):
            datagram = receive()
            with child.burst() as burst:
                while True:
                    burst.done(self._fails(child, sock, *datagram))
                    if child.stopping:
                        return
                    datagram = receive()

    def _fails(
        self, child: Child, sock: socket.socket, data: bytes, address: Any, source: Ancillary | None
    ) -> bool:
        """Answer one datagram, which is one request; whatever the handler raises is its error."""
        try:
            answer = self._reply(data, address)
            if answer is not None:
                _send(sock, answer, address, source)
        except (Exception, SystemExit) as error:
            child.log.error("request failed", exc_info=error, extra={"peer": peer_of(address)})
            return True
        return False


def _receive(sock: socket.socket, buffer: memoryview) -> Datagram:
    size, address = sock.recvfrom_into(buffer)
    return bytes(buffer[:size]), address, None


def _receive_told(sock: socket.socket, buffer: memoryview) -> Datagram:
    """As `_receive`, with the address that was asked: the answer leaves from there."""
    size, ancillary, _, address = sock.recvmsg_into([buffer], _PKTINFO_SPACE)
    return bytes(buffer[:size]), address, [_source(item) for item in ancillary]


def _send(sock: socket.socket, data: bytes, address: Any, source: Ancillary | None) -> None:
    """Send one datagram, from `source` if given. Raises TimeoutError if the buffer stays full."""
    while True:
        try:
            if source is None:
                sock.sendto(data, address)
            else:
                sock.sendmsg([data], source, 0, address)
            return
        except BlockingIOError:
            writable = select.poll()
            writable.register(sock, select.POLLOUT)
            if not writable.poll(_SEND_TIMEOUT):
                raise TimeoutError("send buffer full") from None


def _ask_for_destination(sock: socket.socket) -> None:
    """Let every datagram tell which of our addresses it was sent to."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def _source(item: tuple[int, int, bytes]) -> tuple[int, int, bytes]:
    """From the destination of a datagram to the source of its answer; the route chooses the
    interface, but for link-local addresses, which mean nothing without theirs.
    """
    level, kind, data = item
    if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
        return level, kind, struct.pack("=I4s4s", 0, data[8:12], bytes(4))
    if (level, kind) == (socket.IPPROTO_IPV6, _IPV6_PKTINFO) and data[:2] != b"\xfe\x80":
        return level, kind, data[:16] + bytes(4)
    return item
