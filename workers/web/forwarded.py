"""Where a request really comes from, as proxies that are trusted say: `Forwarded` (RFC 7239), or
`X-Forwarded-For`, `-Proto`, `-Host`, `-Port` and `-Prefix`.

Pure: addresses and fields in, an Origin out. Of each field the value counts that the last trusted
proxy on the way to the client has set; what was there before is the client's own invention.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from supervisor.workers.web.http1.request import is_host

_FIELDS = (b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host")
_MORE_FIELDS = (b"x-forwarded-port", b"x-forwarded-prefix")
_PAIR = re.compile(rb'\s*([A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^";,\s]*))\s*')
_SCHEMES = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}
_PREFIX = re.compile(rb"(/[!-~]*)?")


class Origin(NamedTuple):
    """`host` is that of the URL, with its port if it has one; "" where no proxy told. `prefix` is
    what a proxy took off the path.
    """

    client: str
    port: int
    scheme: str
    host: str = ""
    host_port: str = ""
    prefix: str = ""


class Hop(NamedTuple):
    """The claims of one proxy; None where it makes none."""

    client: bytes | None = None
    scheme: bytes | None = None
    host: bytes | None = None


class Trust:
    """The proxies whose word counts: addresses and networks, or `*` for all."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self._all = "*" in trusted
        self._networks = [ipaddress.ip_network(one, strict=False) for one in trusted if one != "*"]
        self._known = lru_cache(1024)(self._is_within)

    def __bool__(self) -> bool:
        return self._all or bool(self._networks)

    def trusts(self, address: str) -> bool:
        """Tell whether what this peer says counts."""
        return self._all or self._known(address)

    def _is_within(self, address: str) -> bool:
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._networks)


def origin(peer: str, port: int, scheme: str, named: Mapping[bytes, bytes], trust: Trust) -> Origin:
    """The origin of a request that came from `peer`. Fields of one name were joined with commas."""
    direct = Origin(peer, port, scheme)
    if not trust.trusts(peer):
        return direct
    if b"forwarded" in named:
        # It wins, but has no word for a prefix.
        prefix = {name: value for name, value in named.items() if name == b"x-forwarded-prefix"}
        return _follow(direct, _forwarded(named[b"forwarded"]), prefix, trust)
    hops = [Hop(one) for one in _listed(named.get(b"x-forwarded-for"))]
    return _follow(direct, hops, named, trust)


def _follow(direct: Origin, hops: list[Hop], named: Mapping[bytes, bytes], trust: Trust) -> Origin:
    """Go from hop to hop towards the client, as long as each is trusted."""
    client, port, depth, told = direct.client, direct.port, -1, Hop()
    for hop in reversed(hops):
        told, depth = hop, depth + 1
        found = _address(hop.client or b"")
        if found is None:
            break
        client, port = found
        if not trust.trusts(client):
            break
    scheme = told.scheme or _nth(named, b"x-forwarded-proto", depth)
    host = told.host or _nth(named, b"x-forwarded-host", depth)
    host_port = _nth(named, b"x-forwarded-port", depth)
    prefix = _nth(named, b"x-forwarded-prefix", depth)
    return Origin(
        client,
        port,
        _SCHEMES.get(scheme.lower(), direct.scheme),
        host.decode("ascii") if is_host(host) else "",
        host_port.decode("ascii") if host_port.isdigit() and int(host_port) < 65_536 else "",
        prefix.decode("ascii").rstrip("/") if _PREFIX.fullmatch(prefix) else "",
    )


def _nth(named: Mapping[bytes, bytes], name: bytes, depth: int) -> bytes:
    """The value that the proxy at this depth has set; one value stands for all of them."""
    values = _listed(named.get(name))
    if not values:
        return b""
    return values[max(0, len(values) - 1 - max(0, depth))]


def _listed(value: bytes | None) -> list[bytes]:
    return [one.strip() for one in value.split(b",") if one.strip()] if value else []


def _forwarded(value: bytes) -> list[Hop]:
    """The elements of the field. One that is malformed ends the list: nothing before it counts."""
    hops: list[Hop] = []
    for element in reversed(re.split(rb',(?=(?:[^"]*"[^"]*")*[^"]*$)', value)):
        pairs: dict[bytes, bytes] = {}
        for part in element.split(b";"):
            found = _PAIR.fullmatch(part)
            if found is None:
                return hops[::-1]
            name, quoted, plain = found.groups()
            pairs[name.lower()] = quoted if quoted is not None else plain
        hops.append(Hop(pairs.get(b"for"), pairs.get(b"proto"), pairs.get(b"host")))
    return hops[::-1]


def _address(text: bytes) -> tuple[str, int] | None:
    """Address and port (0 = not told) of `1.2.3.4`, `1.2.3.4:5`, `2001:db8::1`, `[2001:db8::1]:5`;
    None for what is no address.
    """
    try:
        word = text.decode("ascii")
    except UnicodeDecodeError:
        return None
    if _parsed(word) is not None:
        return word, 0
    host, _, port = word.rpartition(":") if not word.endswith("]") else (word, "", "")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if _parsed(host) is None or not (port.isdigit() or not port):
        return None
    return host, int(port or 0)


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if parsed.version == 6 else None
    return mapped or parsed


def joined(fields: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The fields that proxies set, those of one name joined as one list (RFC 9110, 5.3)."""
    found: dict[bytes, bytes] = {}
    for name, value in fields:
        if name in _FIELDS or name in _MORE_FIELDS:
            found[name] = found[name] + b"," + value if name in found else value
    return found
