"""The head of an answer: what the application gave, checked, and the framing of its body.

Pure: status and fields in, bytes out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.utils import formatdate
from enum import IntEnum
from functools import lru_cache
from http import HTTPStatus


class InvalidAnswer(Exception):
    """The application's answer cannot be sent; the text says why."""


class Role(IntEnum):
    """The meaning that a field of an answer has to the connection."""

    PLAIN = 0
    LENGTH = 1
    CONNECTION = 2
    DATE = 3
    DROPPED = 4  # of one hop, and ours to decide


_ROLES = {
    b"content-length": Role.LENGTH,
    b"connection": Role.CONNECTION,
    b"date": Role.DATE,
    b"keep-alive": Role.DROPPED,
    b"proxy-connection": Role.DROPPED,
    b"transfer-encoding": Role.DROPPED,
}
PLAIN, LENGTH, CONNECTION, DATE, DROPPED = Role
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_REASON = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
WITHOUT_BODY = frozenset((204, 304))


class Head:
    """The lines of a head, and what the fields said: `length` None where none was given."""

    __slots__ = ("closes", "has_date", "length", "lines")

    def __init__(self, status: int, reason: bytes | None) -> None:
        self.lines = [_status_line(status, reason)]
        self.length: int | None = None
        self.closes = False
        self.has_date = False

    def add(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Take the application's fields. Raises InvalidAnswer."""
        lines = self.lines
        for name, value in fields:
            role = _role(name)
            if role is PLAIN:
                lines.append(name + b": " + value)
            else:
                self._add_special(role, name, value)

    def _add_special(self, role: Role, name: bytes, value: bytes) -> None:
        if role is LENGTH:
            self._set_length(value)
        elif role is CONNECTION:
            self.closes = self.closes or b"close" in value.lower()
        elif role is DATE:
            self.has_date = True
            self.lines.append(name + b": " + value)

    def _set_length(self, value: bytes) -> None:
        if not (value.isdigit() and len(value) < 20):
            raise InvalidAnswer(f"Content-Length: {value!r}")
        if self.length not in (None, int(value)):
            raise InvalidAnswer("two Content-Lengths")
        self.length = int(value)

    def text(self) -> bytes:
        """The head's bytes. Raises InvalidAnswer where a value would end its line."""
        lines = self.lines
        text = b"\r\n".join(lines) + b"\r\n\r\n"
        breaks = len(lines) + 1
        if text.count(b"\n") != breaks or text.count(b"\r") != breaks or b"\0" in text:
            raise InvalidAnswer("CR, LF or NUL in a header")
        return text


@lru_cache(2)
def date_line(seconds: int) -> bytes:
    """The field Date for a second since 1970."""
    return b"Date: " + formatdate(seconds, usegmt=True).encode()


def phrase(status: int) -> bytes:
    """The usual words for a status; b"" for one that nobody registered."""
    return _PHRASES.get(status, b"")


@lru_cache(1024)
def _role(name: bytes) -> Role:
    """Raises InvalidAnswer for a name that is no token."""
    if not _TOKEN.fullmatch(name):
        raise InvalidAnswer(f"header name {name!r}")
    return _ROLES.get(name.lower(), PLAIN)


@lru_cache(256)
def _status_line(status: int, reason: bytes | None) -> bytes:
    if not 100 <= status <= 999:
        raise InvalidAnswer(f"status {status}")
    if reason is None:
        reason = phrase(status)
    elif not _REASON.fullmatch(reason):
        raise InvalidAnswer("CR, LF or NUL in the reason")
    return b"HTTP/1.1 %d %b" % (status, reason)
