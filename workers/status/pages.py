"""The answers of the status pages: which path and client gets which, with which headers."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, NamedTuple

_METHODS: Final = ("GET", "HEAD")
_HEADERS: Final = [
    (b"Cache-Control", b"no-store"),
    (
        b"Content-Security-Policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"X-Content-Type-Options", b"nosniff"),
]


class Answer(NamedTuple):
    """The answer to a request."""

    status: HTTPStatus
    content_type: str
    body: bytes


# From the path and the Accept header to an answer, None for a path that leads nowhere.
Route = Callable[[str, str], Answer | None]


def text(status: HTTPStatus, words: str) -> Answer:
    """An answer of one line."""
    return Answer(status, "text/plain; charset=utf-8", words.encode() + b"\n")


def answer(
    method: str, path: str, named: dict[bytes, bytes], route: Route, *, names_only_us: bool
) -> Answer:
    """The answer of the route, or a refusal.

    With `names_only_us` a Host other than localhost or an IP address is refused: the listener is
    on loopback, and a foreign page must not reach it by a name that it points there (DNS
    rebinding).
    """
    host = named.get(b"host")
    if host is not None and names_only_us and not _names_us(host.decode("latin-1")):
        return _refusal(HTTPStatus.MISDIRECTED_REQUEST)
    if method not in _METHODS:
        return _refusal(HTTPStatus.METHOD_NOT_ALLOWED)
    found = route(path, named.get(b"accept", b"").decode("latin-1"))
    return found or _refusal(HTTPStatus.NOT_FOUND)


def fields(made: Answer) -> list[tuple[bytes, bytes]]:
    """The header of an answer."""
    found = [(b"Content-Type", made.content_type.encode()), *_HEADERS]
    if made.status == HTTPStatus.METHOD_NOT_ALLOWED:
        found.append((b"Allow", ", ".join(_METHODS).encode()))
    return found


def is_on_loopback(host: str) -> bool:
    """True for an address that other machines cannot reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refusal(status: HTTPStatus) -> Answer:
    return text(status, status.phrase)


def _names_us(host: str) -> bool:
    """True for localhost and for an IP address, with or without a port."""
    name = host.strip().lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
