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
import select
import socket
import stat
import struct
from collections.abc import Iterable, Mapping
from typing import Any, Final

from supervisor.config import Address, Listen
from supervisor.errors import ConfigError, ListenError, NoPermission
from supervisor.log import log, pairs

_FIRST_INHERITED: Final = 3  # sd_listen_fds(3)
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

Peer = tuple[Any, ...] | str | bytes


class Listener:
    """A bound socket (non-blocking), its actual address, and whether it was handed to us from
    outside.
    """

    def __init__(self, sock: socket.socket, address: Address, *, inherited: bool = False) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.address = address
        self.inherited = inherited
        self.backlog = 2048  # what listen(2) was told; set by the master
        self.more = False  # the last accept succeeded, so the queue may hold another
        self._file = os.lstat(address.path) if address.scheme == "unix" and not inherited else None
        self._family, self._type = sock.family, sock.type

    def __repr__(self) -> str:
        return f"<Listener {self.address}>"

    def fileno(self) -> int:
        """The descriptor, for selectors."""
        return self.socket.fileno()

    @property
    def is_stream(self) -> bool:
        """True for what has connections to accept."""
        return self._type == socket.SOCK_STREAM

    def has_waiting(self) -> bool:
        """True while the accept queue holds something."""
        queue = select.poll()
        queue.register(self.socket.fileno(), select.POLLIN)
        return bool(queue.poll(0))

    def accept(self) -> tuple[socket.socket, Peer] | None:
        """Return (blocking connection, peer's address), or None when another child was faster.

        Raises OSError when descriptors or memory ran out: that child is better dead than deaf.
        """
        self.more = False
        try:
            accepted = self.socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return None
        self.more = True
        return accepted

    def close_door(self) -> None:
        """Let nothing new in, and reset nothing that came: drop each new SYN, or unlink the unix
        path.

        The peer's kernel repeats a dropped SYN a second later and finds the next instance. Any
        process that holds the socket may do this, any number of times.
        """
        if self.address.scheme == "tcp":
            program = ctypes.create_string_buffer(_DROP_SYN)
            filters = len(_DROP_SYN) // 8
            option = struct.pack("HxxxxxxP", filters, ctypes.addressof(program))
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, option)
        elif self.address.scheme == "unix":
            self._unlink()

    def release(self) -> None:
        """Close the socket and remove its file, if it has one of ours."""
        self._unlink()
        self.socket.close()

    def _unlink(self) -> None:
        """Remove the socket file, unless another server has put its own there meanwhile."""
        with contextlib.suppress(FileNotFoundError):
            if self._file is not None and os.path.samestat(self._file, os.lstat(self.address.path)):
                os.unlink(self.address.path)


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
    found = socket.getaddrinfo(address.host, address.port, type=kind, flags=socket.AI_PASSIVE)
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
            log.warning("stale socket removed %s", pairs(path=path))
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


def adopt(environ: Mapping[str, str], wanted: Iterable[Listen]) -> dict[Listen, Listener]:
    """Return the sockets of sd_listen_fds(3) by the entry that claims them: same family, type,
    address.

    Raises ConfigError for a socket that no entry claims.
    """
    by_address = {listen.address: listen for listen in wanted}
    adopted: dict[Listen, Listener] = {}
    opened: list[socket.socket] = []
    problems: list[str] = []
    for descriptor in inherited(environ):
        try:
            sock = socket.socket(fileno=descriptor)
            address = _address_of(sock)
        except OSError as error:
            problems.append(f"inherited descriptor {descriptor}: {error.strerror}")
            continue
        opened.append(sock)
        entry = next((by_address[known] for known in _spellings(address, by_address)), None)
        if entry is None:
            problems.append(f"inherited socket {address}: no listen entry claims it")
        else:
            sock.set_inheritable(False)
            adopted[entry] = Listener(sock, address, inherited=True)
    if problems:
        for sock in opened:
            sock.close()
        raise ConfigError(problems)
    return adopted


def inherited(environ: Mapping[str, str]) -> range:
    """The descriptors passed to this very process by LISTEN_PID and LISTEN_FDS."""
    try:
        if int(environ.get("LISTEN_PID", "")) != os.getpid():
            return range(0)
        return range(_FIRST_INHERITED, _FIRST_INHERITED + int(environ.get("LISTEN_FDS", "")))
    except ValueError:
        return range(0)


def _address_of(sock: socket.socket) -> Address:
    """The listen address of any socket. Raises OSError for what is none of ours."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX and sock.type == socket.SOCK_STREAM:
        return Address("unix", path=name if isinstance(name, str) else os.fsdecode(name))
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        scheme = "tcp" if sock.type == socket.SOCK_STREAM else "udp"
        return Address(scheme, host=name[0], port=name[1])  # type: ignore[arg-type]
    raise OSError(errno.ESOCKTNOSUPPORT, "neither tcp, udp nor a unix stream")


def _spellings(address: Address, known: Iterable[Address]) -> Iterable[Address]:
    """Those of `known` that mean `address`: localhost means 127.0.0.1."""
    for other in known:
        if other == address:
            yield other
        elif other.scheme == address.scheme != "unix" and other.port == address.port:
            with contextlib.suppress(socket.gaierror, UnicodeError):
                hosts = socket.getaddrinfo(other.host, other.port, flags=socket.AI_PASSIVE)
                if hosts[0][4][0] == address.host:
                    yield other
