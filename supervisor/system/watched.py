"""Connections that a library of this process holds: found by the epoll in which it watches them.

For a server in C or Rust that takes a listening socket and shows nothing of what it accepts. What
is looked at here may be closed at any moment by its owner, and its number given to another file:
each look is at a duplicate, and compares the address.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

# struct tcp_info of <linux/tcp.h>: tcpi_last_data_recv, tcpi_bytes_received.
_SILENT_MS: Final = struct.Struct("52xI")
_RECEIVED: Final = struct.Struct("128xQ")
_SIZE: Final = 136


class Connection(NamedTuple):
    """One that was accepted. `peer` is "" for a unix socket, of which the kernel tells nothing but
    `unread` and `unsent`, in bytes.
    """

    descriptor: int
    peer: str  # HOST:PORT, with brackets around an IPv6 host
    spoke: bool  # bytes have come
    silent: float  # s since bytes came last, or since it was made
    unread: int
    unsent: int


def epoll_of(descriptor: int) -> int | None:
    """The descriptor of the epoll in which a library watches `descriptor`; None where it does not
    yet, or any more.
    """
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            is_epoll = os.readlink(f"/proc/self/fd/{name}") == "anon_inode:[eventpoll]"
            if is_epoll and descriptor in _watched(int(name)):
                return int(name)
    return None


def forget(epoll: int, descriptor: int) -> None:
    """Take a descriptor out of an epoll: its owner hears of it no more."""
    with contextlib.suppress(OSError), select.epoll.fromfd(os.dup(epoll)) as duplicate:
        duplicate.unregister(descriptor)


def connections(epoll: int, listener: socket.socket) -> Iterator[Connection]:
    """Those in the epoll that came from the listener."""
    for descriptor in _watched(epoll):
        with contextlib.suppress(OSError), _duplicate(descriptor) as one:
            is_listener = one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            if one.family == listener.family and not is_listener and _has_come_to(one, listener):
                yield _described(descriptor, one)


def hang_up(connection: Connection) -> None:
    """End the connection, if it is still that one: its owner reads the end."""
    with contextlib.suppress(OSError), _duplicate(connection.descriptor) as one:
        if _name(one.getpeername()) == connection.peer:
            one.shutdown(socket.SHUT_RDWR)


def _watched(epoll: int) -> list[int]:
    try:
        lines = Path(f"/proc/self/fdinfo/{epoll}").read_text().splitlines()
    except FileNotFoundError:  # it has been closed meanwhile
        return []
    return [int(line.split()[1]) for line in lines if line.startswith("tfd:")]


def _duplicate(descriptor: int) -> socket.socket:
    """Raises OSError for what is no socket."""
    duplicate = os.dup(descriptor)
    try:
        return socket.socket(fileno=duplicate)
    except OSError:
        os.close(duplicate)
        raise


def _has_come_to(one: socket.socket, listener: socket.socket) -> bool:
    """By the path of a unix listener; by the port, for a listener may have any address."""
    own, address = one.getsockname(), listener.getsockname()
    return bool(own[1] == address[1] if isinstance(address, tuple) else own == address)


def _described(descriptor: int, one: socket.socket) -> Connection:
    unread = struct.unpack("i", fcntl.ioctl(one, termios.FIONREAD, bytes(4)))[0]
    unsent = struct.unpack("i", fcntl.ioctl(one, termios.TIOCOUTQ, bytes(4)))[0]
    if one.family == socket.AF_UNIX:
        return Connection(descriptor, "", True, float("inf"), unread, unsent)
    facts = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
    (silent,), (received,) = _SILENT_MS.unpack_from(facts), _RECEIVED.unpack_from(facts)
    peer = _name(one.getpeername())
    return Connection(descriptor, peer, received > 0, silent / 1000, unread, unsent)


def _name(address: object) -> str:
    if not isinstance(address, tuple):
        return ""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
