"""Listening sockets: bound or adopted by the master, accepted on by the children, and the door that
closes.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import grp
import os
import pwd
import socket
import stat
import struct
from collections.abc import Iterator
from typing import Any, Final

from supervisor.config.address import Address, Listen
from supervisor.errors import ConfigError, ListenError, NoPermission
from supervisor.log.entries import log
from supervisor.system.descriptors import is_readable

_SO_ATTACH_FILTER: Final = 26  # asm-generic/socket.h


# Classic BPF on a TCP header: drop SYN without ACK, take all else (socket(7), linux/filter.h).
_DROP_SYN: Final = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # A = flags
        (0x54, 0, 0, 0x12),  # A &= SYN | ACK
        (0x15, 0, 1, 0x02),  # SYN alone?
        (0x06, 0, 0, 0),  # drop
        (0x06, 0, 0, 0xFFFFFFFF),  # accept
    )
)


# The least TTL (hop limit) that a packet must have: ip(7), ipv6(7), RFC 5082. At 255 the kernel
# drops all packets to the listener, without an answer: the usual TTLs at the sender are 64 and 128.
_HOPS: Final = {
    socket.AF_INET: (socket.IPPROTO_IP, 21),  # IP_MINTTL
    socket.AF_INET6: (socket.IPPROTO_IPV6, 73),  # IPV6_MINHOPCOUNT
}


Peer = tuple[Any, ...] | str | bytes


class Listener:
    """A bound socket (non-blocking), its actual address, and whether it was handed to us from
    outside.
    """

    def __init__(self, sock: socket.socket, address: Address, *, inherited: bool = False) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.address = address
        self.local = (address.host or "localhost", str(address.port or 80))  # as a request has it
        self.inherited = inherited
        self.shared = False  # with a master that serves beside this one: it outlives us
        self.door_closed = False  # as far as this process knows
        self.backlog = 2048  # what listen(2) was told; set by the master
        self._file: os.stat_result | None = None
        if address.scheme == "unix" and not inherited:
            with contextlib.suppress(FileNotFoundError):
                self._file = os.lstat(address.path)
        self._family, self._type = sock.family, sock.type
        self._accept = sock._accept  # type: ignore[attr-defined]  # its public form makes an object

    def __repr__(self) -> str:
        return f"<Listener {self.address}>"

    def fileno(self) -> int:
        """The descriptor, for selectors."""
        return self.socket.fileno()

    @property
    def outlives_us(self) -> bool:
        """True where its door stays open, for others serve it after us."""
        return self.inherited or self.shared

    @property
    def is_stream(self) -> bool:
        """True for what has connections to accept."""
        return self._type == socket.SOCK_STREAM

    def has_waiting(self) -> bool:
        """True while the accept queue holds something."""
        return is_readable(self.socket.fileno()) and not self._is_shut()

    def accept(self) -> tuple[socket.socket, Peer] | None:
        """Return (blocking connection, peer's address), or None when another child was faster.

        Raises OSError when descriptors or memory ran out: that child is better dead than deaf.
        """
        accepted = self.take()
        return None if accepted is None else (socket.socket(fileno=accepted[0]), accepted[1])

    def take(self) -> tuple[int, Peer] | None:
        """As `accept`, but the bare descriptor, which is the caller's to close: an object for it
        costs a getsockname(2) and more time than the accept4(2).
        """
        try:
            accepted: tuple[int, Peer] = self._accept()
        except (BlockingIOError, ConnectionAbortedError):
            return None
        except OSError as error:
            if error.errno == errno.EINVAL:  # it was shut meanwhile, see `refuse`
                return None
            raise
        if self.door_closed and self._family in _HOPS:
            # It may have been half open when the door closed, and have inherited the demand.
            with as_socket(accepted[0]) as connection:
                connection.setsockopt(*_HOPS[self._family], 0)
        return accepted

    def close_door(self) -> None:
        """Let nothing new in, and reset nothing that came: drop each new SYN, or unlink the unix
        path.

        The peer's kernel repeats a dropped SYN a second later and finds the next instance. Any
        process that holds the socket may do this, any number of times.
        """
        self.door_closed = True
        if self.address.scheme == "tcp":
            try:
                self._drop_new_connections()
            except PermissionError:  # some kernels keep filters on TCP to CAP_NET_ADMIN
                self.socket.setsockopt(*_HOPS[self._family], 255)
        elif self.address.scheme == "unix":
            self._unlink()

    def refuse(self) -> bool:
        """Let the kernel refuse new connections, as soon as nothing waits in the queue; True once
        it does. Only behind a closed door.

        shutdown(2) ends the listening of the socket itself, whoever else holds it.
        """
        if self.address.scheme != "tcp" or self._is_shut():
            return True
        if self.has_waiting():
            return False
        self.socket.shutdown(socket.SHUT_RD)
        return True

    def _is_shut(self) -> bool:
        return self.is_stream and not self.socket.getsockopt(
            socket.SOL_SOCKET, socket.SO_ACCEPTCONN
        )

    def _drop_new_connections(self) -> None:
        program = ctypes.create_string_buffer(_DROP_SYN)
        filters = len(_DROP_SYN) // 8
        option = struct.pack("HxxxxxxP", filters, ctypes.addressof(program))
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, option)

    def release(self) -> None:
        """Close the socket and remove its file, if it has one of ours."""
        self._unlink()
        self.socket.close()

    def give_to(self, uid: int, gid: int) -> None:
        """Let another user own the socket file."""
        if self._is_ours():
            os.chown(self.address.path, uid, gid, follow_symlinks=False)

    def _unlink(self) -> None:
        """Remove the socket file, unless another server has put its own there meanwhile.

        Not ours to remove any more where privileges were dropped; boot has warned of that.
        """
        with contextlib.suppress(FileNotFoundError, PermissionError):
            if self._is_ours():
                os.unlink(self.address.path)

    def _is_ours(self) -> bool:
        """True while the path leads to the socket that we bound."""
        with contextlib.suppress(FileNotFoundError):
            if self._file is not None and not self.shared:
                return os.path.samestat(self._file, os.lstat(self.address.path))
        return False


@contextlib.contextmanager
def as_socket(descriptor: int) -> Iterator[socket.socket]:
    """A socket object for a descriptor that stays open."""
    sock = socket.socket(fileno=descriptor)
    try:
        yield sock
    finally:
        sock.detach()


def open_listener(listen: Listen, backlog: int) -> Listener:
    """Bind what `listen` asks for. Raises ListenError or NoPermission, naming the address."""
    address = listen.address
    try:
        sock = _bind_unix(listen) if address.scheme == "unix" else _bind_internet(address)
        if address.scheme != "udp":
            sock.listen(backlog)
    except PermissionError as error:
        raise NoPermission(f"{address}: {error.strerror}") from None
    except LookupError as error:
        problem = f"{address}: owner {listen.owner!r}: {error.args[0]}"
        raise ConfigError([problem]) from None
    except UnicodeError:
        raise ListenError(f"{address}: host unknown: not a host name") from None
    except OSError as error:
        raise ListenError(f"{address}: {_bind_problem(error)}") from None
    return Listener(sock, _actual(address, sock))


def _bind_problem(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"host unknown: {error.strerror}"
    if error.errno == errno.EADDRINUSE:
        return (
            "address already in use; stop the other server (ss -lntup shows it) or choose another"
        )
    return error.strerror or str(error)


def _bind_internet(address: Address) -> socket.socket:
    kind = socket.SOCK_STREAM if address.scheme == "tcp" else socket.SOCK_DGRAM
    # Bytes spare the import of the tables of international names, 5 ms.
    host = address.host.encode() if address.host.isascii() else address.host
    found = socket.getaddrinfo(host, address.port, type=kind, flags=socket.AI_PASSIVE)
    family, kind_found, protocol, _, where = found[0]
    sock = socket.socket(family, kind_found, protocol)
    try:
        if address.scheme == "tcp":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Inherited by each accepted connection, which saves a system call there.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)
    except OSError:
        sock.close()
        raise
    return sock


def _bind_unix(listen: Listen) -> socket.socket:
    path = listen.address.path
    clear_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Nobody may connect before the mode is what was asked for.
    umask = os.umask(0o177) if listen.mode else None
    bound = False
    try:
        sock.bind(path)
        bound = True
        if listen.mode:
            os.chmod(path, int(listen.mode, 8))
        if listen.owner:
            os.chown(path, *owner_ids(listen.owner))
    except (OSError, LookupError):
        sock.close()
        if bound:
            os.unlink(path)
        raise
    finally:
        if umask is not None:
            os.umask(umask)
    return sock


def owner_ids(owner: str) -> tuple[int, int]:
    """The uid and gid of `user`, `user:group` or `:group`; -1 leaves one as it is. Raises
    LookupError.
    """
    user, _, group = owner.partition(":")
    uid = pwd.getpwnam(user).pw_uid if user else -1
    return uid, grp.getgrnam(group).gr_gid if group else -1


def clear_stale(path: str) -> None:
    """Remove a dead server's socket file. Refuses a live one, and whatever is not a socket."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"unix://{path}: exists and is not a socket; not removed")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            log.warning("stale socket removed", path=path)
            os.unlink(path)
            return
        except FileNotFoundError:
            return
        except PermissionError:
            raise
        except OSError:
            pass  # EAGAIN: its queue is full; EPROTOTYPE: a datagram socket. Somebody is there.
    raise ListenError(f"unix://{path}: address already in use: somebody listens there")


def _actual(address: Address, sock: socket.socket) -> Address:
    """The address with the host and port that the kernel chose."""
    if address.scheme == "unix":
        return address
    host, port = sock.getsockname()[:2]
    return Address(address.scheme, host=host, port=port)
