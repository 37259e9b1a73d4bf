"""The PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt): the first bytes of a
connection say who its client is.

`read` is pure: bytes in, a Header out. An Introduction takes these bytes, and none that follow,
from a socket: what follows may be a handshake of TLS, which is OpenSSL's to read.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from time import monotonic
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from supervisor.errors import NameProblem
from supervisor.system.descriptors import wait_for_any
from supervisor.workers.web.forwarded import Trust

if TYPE_CHECKING:
    from supervisor.child.child import Child

Version = Literal["v1", "v2"]

_V1: Final = b"PROXY "
_LONGEST_V1: Final = 107  # bytes with CR LF, section 2.1
_FAMILIES_V1: Final[dict[bytes, type[IPv4Address | IPv6Address]]] = {
    b"TCP4": IPv4Address,
    b"TCP6": IPv6Address,
}
_V2: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED_V2: Final = struct.Struct("!12sBBH")  # signature; version, command; family, protocol; length
_LONGEST_V2: Final = 4096  # bytes: the addresses of unix sockets are 216, the rest are TLVs
_LAST_WORDS: Final = 1.0  # s for a header, once the child was told to stop
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6, _UNIX = 0x11, 0x21, 0x31
_ADDRESSES_V2: Final = {
    0x10: struct.Struct("!4s4sHH"),  # AF_INET
    0x20: struct.Struct("!16s16sHH"),  # AF_INET6
    0x30: struct.Struct("108s108s"),  # AF_UNIX
}


class InvalidHeader(ConnectionError):
    """The connection does not begin with what it has to."""


class Header(NamedTuple):
    """`size` in bytes. `source` is the client's address and port, ("", 0) on a unix socket; None
    where the proxy speaks for itself, or knows no address.
    """

    size: int
    source: tuple[str, int] | None


def read(data: bytes, version: Version) -> Header | None:
    """The header with which `data` begins; None where more bytes are needed. Raises
    InvalidHeader, as soon as `data` cannot become one.
    """
    return _read_v1(data) if version == "v1" else _read_v2(data)


def _read_v1(data: bytes) -> Header | None:
    if data[: len(_V1)] != _V1[: len(data)]:
        raise InvalidHeader("no PROXY header")
    end = data.find(b"\r\n", 0, _LONGEST_V1)
    if end < 0:
        if len(data) >= _LONGEST_V1:
            raise InvalidHeader("a PROXY header of more than 107 bytes")
        return None
    return Header(end + 2, _source_v1(data[len(_V1) : end]))


def _source_v1(line: bytes) -> tuple[str, int] | None:
    """Of UNKNOWN the rest of the line is to be ignored."""
    family, *words = line.split(b" ")
    if family == b"UNKNOWN":
        return None
    parse = _FAMILIES_V1.get(family)
    if parse is None or len(words) != 4:
        raise InvalidHeader("a malformed PROXY header")
    source, _ = (_address(parse, word) for word in words[:2])
    port, _ = (_port(word) for word in words[2:])
    return source, port


def _address(parse: type[IPv4Address | IPv6Address], word: bytes) -> str:
    try:
        text = word.decode("ascii")
        if "%" not in text:
            return str(parse(text))
    except (UnicodeDecodeError, AddressValueError):
        pass
    raise InvalidHeader("a PROXY header without an address")


def _port(word: bytes) -> int:
    if word.isdigit() and len(word) <= 5 and (word == b"0" or word[:1] != b"0"):
        port = int(word)
        if port < 65_536:
            return port
    raise InvalidHeader("a PROXY header without a port")


def _read_v2(data: bytes) -> Header | None:
    if data[: len(_V2)] != _V2[: len(data)]:
        raise InvalidHeader("no PROXY header")
    if len(data) < _FIXED_V2.size:
        return None
    _, command, family, length = _FIXED_V2.unpack_from(data)
    if command not in (_LOCAL, _PROXY) or family >> 4 > 3 or family & 0xF > 2:
        raise InvalidHeader("a malformed PROXY header")
    if length > _LONGEST_V2:
        raise InvalidHeader(f"a PROXY header of {length} bytes")
    addresses = _ADDRESSES_V2.get(family & 0xF0)
    if command == _PROXY and addresses is not None and length < addresses.size:
        raise InvalidHeader("a PROXY header without its addresses")
    size = _FIXED_V2.size + length
    if len(data) < size:
        return None
    is_told = command == _PROXY
    return Header(size, _source_v2(family, data[_FIXED_V2.size : size]) if is_told else None)


def _source_v2(family: int, block: bytes) -> tuple[str, int] | None:
    """The block has the addresses, then TLVs, which are skipped."""
    if family not in (_TCP4, _TCP6, _UNIX):
        return None  # unspecified, or of datagrams
    found = _ADDRESSES_V2[family & 0xF0].unpack_from(block)
    if family == _UNIX:
        return "", 0
    address = IPv4Address(found[0]) if family == _TCP4 else IPv6Address(found[0])
    return str(address), found[2]


class Introduction:
    """The header of one connection while it comes."""

    __slots__ = ("_data", "_is_trusted", "_version")

    def __init__(self, version: Version, *, is_trusted: bool) -> None:
        self._version = version
        self._is_trusted = is_trusted
        self._data = b""

    def receive(self, sock: socket.socket) -> Header | None:
        """Take what has come of it from a socket that does not block; return it when it is whole.
        Raises BlockingIOError where nothing has come, and InvalidHeader.

        What has come is looked at first. While the header is not whole all of it is taken, so that
        epoll does not tell of the same bytes again and again.
        """
        if not self._is_trusted:
            raise InvalidHeader("not a trusted proxy")
        # The method of plain sockets: one of TLS, before its handshake, refuses to look.
        seen = socket.socket.recv(sock, _FIXED_V2.size + _LONGEST_V2, socket.MSG_PEEK)
        if not seen:
            raise InvalidHeader("the client ended before its PROXY header")
        header = read(self._data + seen, self._version)
        size = len(seen) if header is None else header.size - len(self._data)
        self._data += socket.socket.recv(sock, size)
        return header

    def wait(self, child: Child, sock: socket.socket, seconds: float) -> Header:
        """Return the header within so many seconds; once the child is told to stop, only where it
        is on its way. Raises InvalidHeader and TimeoutError.
        """
        sock.setblocking(False)
        by = monotonic() + seconds
        while True:
            try:
                header = self.receive(sock)
                if header is not None:
                    return header
            except BlockingIOError:
                left = by - monotonic()
                if left <= 0 or not _has_more(child, sock, left):
                    raise TimeoutError("no PROXY header") from None


def _has_more(child: Child, sock: socket.socket, seconds: float) -> bool:
    """Wait for more bytes; False where the child stops and none come."""
    if not child.stopping:
        child.pause(seconds, sock.fileno())
        return True
    return wait_for_any(min(seconds, _LAST_WORDS), sock.fileno())


class Proxies:
    """The proxies that introduce their clients: `trusted` addresses and networks."""

    def __init__(self, version: Version, trusted: Trust) -> None:
        self._version = version
        self._trusted = trusted

    def introduction(self, peer: str) -> Introduction:
        """The header that has to come first from this peer."""
        return Introduction(self._version, is_trusted=self._trusted.trusts(peer))


def proxies(
    version: Literal["off", "v1", "v2"], trusted: Sequence[str], http: str = "1"
) -> Proxies | None:
    """Those of the options of a section, None where they are off. Raises NameProblem."""
    if version == "off":
        return None
    key = "proxy_protocol"
    if http == "2":
        raise NameProblem(f"{version!r} is not for http = '2'", key)
    if not trusted:
        raise NameProblem(f"{version!r} needs trusted_proxies: nobody could connect", key)
    return Proxies(version, Trust(trusted))
