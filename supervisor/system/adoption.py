"""Sockets that were handed to this process, each matched with the `listen` entry that asks for
it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterable, Mapping, Sequence

from supervisor.config.address import Address, Listen
from supervisor.errors import ConfigError
from supervisor.system.listeners import Listener

Claims = dict[tuple[str, int], Listener]  # by section and place in its `listen`


def adopt(inherited: Iterable[tuple[int, str]], wanted: Mapping[str, Sequence[Listen]]) -> Claims:
    """Return the inherited sockets by the entry that claims each: same family, type and address.

    What no address claims goes, by the name that came with it (FileDescriptorName=), to the first
    free entry with the same scheme in the section of that name. Raises ConfigError for what is
    left.
    """
    claims: Claims = {}
    problems: list[str] = []
    opened: list[socket.socket] = []
    nameless: list[tuple[socket.socket, Address, str]] = []
    for descriptor, name in inherited:
        try:
            sock = socket.socket(fileno=descriptor)
            address = _address_of(sock)
        except OSError as error:
            problems.append(f"inherited descriptor {descriptor}: {error.strerror}")
            continue
        sock.set_inheritable(False)
        opened.append(sock)
        entry = _claimed_by_address(address, wanted, claims)
        if entry is None:
            nameless.append((sock, address, name))
        else:
            claims[entry] = Listener(sock, address, inherited=True)
    for sock, address, name in nameless:
        entry = _claimed_by_name(address, name, wanted, claims)
        if entry is None:
            named = f" (name {name!r})" if name else ""
            problems.append(f"inherited socket {address}{named}: no listen entry claims it")
        else:
            claims[entry] = Listener(sock, address, inherited=True)
    if problems:
        for sock in opened:
            sock.close()
        raise ConfigError(problems)
    return claims


def _claimed_by_address(
    address: Address, wanted: Mapping[str, Sequence[Listen]], claims: Claims
) -> tuple[str, int] | None:
    for section, entries in wanted.items():
        for index, listen in enumerate(entries):
            if (section, index) not in claims and _means(listen.address, address):
                return section, index
    return None


def _claimed_by_name(
    address: Address, name: str, wanted: Mapping[str, Sequence[Listen]], claims: Claims
) -> tuple[str, int] | None:
    section = name.removesuffix(".socket")  # systemd's own default is the name of the unit
    for index, listen in enumerate(wanted.get(section, ())):
        if (section, index) not in claims and listen.address.scheme == address.scheme:
            return section, index
    return None


def _address_of(sock: socket.socket) -> Address:
    """The listen address of any socket. Raises OSError for what is none of ours."""
    name = sock.getsockname()
    if sock.type == socket.SOCK_STREAM and not sock.getsockopt(
        socket.SOL_SOCKET, socket.SO_ACCEPTCONN
    ):
        raise OSError(errno.EINVAL, "a stream socket that does not listen")
    if sock.family == socket.AF_UNIX and sock.type == socket.SOCK_STREAM:
        return Address("unix", path=name if isinstance(name, str) else os.fsdecode(name))
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        scheme = "tcp" if sock.type == socket.SOCK_STREAM else "udp"
        return Address(scheme, host=name[0], port=name[1])  # type: ignore[arg-type]
    raise OSError(errno.ESOCKTNOSUPPORT, "neither tcp, udp nor a unix stream")


def _means(entry: Address, actual: Address) -> bool:
    """True when a configured address is the actual one: localhost means 127.0.0.1."""
    if entry == actual:
        return True
    if entry.scheme != actual.scheme or entry.scheme == "unix" or entry.port != actual.port:
        return False
    with contextlib.suppress(socket.gaierror, UnicodeError):
        hosts = socket.getaddrinfo(entry.host, entry.port, flags=socket.AI_PASSIVE)
        return hosts[0][4][0] == actual.host
    return False
