"""The lines of an answer's head: what the application gave, checked.

Pure: status and fields in, lines out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from copy import copy
from email.utils import formatdate
from enum import IntEnum
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from supervisor.workers.web.http1.memo import Memo


class InvalidAnswer(Exception):
    """The application's answer cannot be sent; the text says why."""


class Role(IntEnum):
    """The meaning that a field of an answer has to the connection."""

    PLAIN = 0
    LENGTH = 1
    CONNECTION = 2
    DATE = 3
    DROPPED = 4  # of one hop, and ours to decide


_ROLES: Final = {
    b"content-length": Role.LENGTH,
    b"connection": Role.CONNECTION,
    b"date": Role.DATE,
    b"keep-alive": Role.DROPPED,
    b"proxy-connection": Role.DROPPED,
    b"transfer-encoding": Role.DROPPED,
}
PLAIN, LENGTH, CONNECTION, DATE, DROPPED = Role
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_REASON: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_PHRASES: Final = {status.value: status.phrase.encode() for status in HTTPStatus}
_CR, _LF = b"\r\n"
_DIGITS: Final = 19  # of a Content-Length, at most
WITHOUT_BODY: Final = frozenset((204, 304))


def _start_of(name: bytes) -> tuple[Role, bytes]:
    """The role of a field, and how its line begins. Raises InvalidAnswer for a name that is no
    token.
    """
    if not _TOKEN.fullmatch(name):
        raise InvalidAnswer(f"header name {name!r}")
    return _ROLES.get(name.lower(), PLAIN), name + b": "


def _status_line(answer: tuple[int, bytes | None]) -> bytes:
    """The first line, for a status and its reason, None for the usual one. Raises InvalidAnswer."""
    status, reason = answer
    if not 100 <= status <= 999:
        raise InvalidAnswer(f"status {status}")
    if reason is None:
        reason = phrase(status)
    elif not _REASON.fullmatch(reason):
        raise InvalidAnswer("CR, LF or NUL in the reason")
    return b"HTTP/1.1 %d %b" % (status, reason)


_STARTS: Final[Memo[bytes, tuple[Role, bytes]]] = Memo(_start_of, 1024)
_STATUS_LINES: Final[Memo[tuple[int, bytes | None], bytes]] = Memo(_status_line, 256)


class Head:
    """The head of an answer as far as the application gives it, checked: `text` are its lines, with
    Content-Length the last where there is one. It may serve for many answers.
    """

    __slots__ = ("closes", "has_date", "is_silent", "length", "status", "text")

    def __init__(self, status: int) -> None:
        self.status = status
        self.text = b""
        self.is_silent = status in WITHOUT_BODY
        # Its fields said: how long the body is, that the answer is the last, and when it is.
        self.length: int | None = None
        self.closes = self.has_date = False

    def plus(self, name: bytes, value: bytes) -> Head:
        """The same with one more field. Raises InvalidAnswer."""
        more = copy(self)
        more.text += _text_of([_STARTS[name][1] + value])
        return more

    def _take_length(self, value: bytes) -> None:
        if not value.isdigit() or len(value) > _DIGITS or self.length not in (None, int(value)):
            raise InvalidAnswer(f"Content-Length: {value!r}")
        self.length = int(value)

    def _note(self, role: Role, line: bytes, value: bytes, lines: list[bytes]) -> None:
        """Take a field that says something to the connection."""
        if role is LENGTH:
            self._take_length(value)
        elif role is CONNECTION:
            self.closes = self.closes or b"close" in value.lower()
        elif role is DATE:
            self.has_date = True
            lines.append(line)


def head_of(
    status: int, fields: Iterable[tuple[bytes, bytes]], reason: bytes | None = None
) -> Head:
    """The head with this status, its usual reason or another one, and these fields. Raises
    InvalidAnswer.
    """
    head, lines = Head(status), [_STATUS_LINES[status, reason]]
    for name, value in fields:
        role, start = _STARTS[name]
        if role is PLAIN:
            lines.append(start + value)
        else:
            head._note(role, start + value, value, lines)
    if head.length is not None and status != 204:
        lines.append(b"Content-Length: %d" % head.length)
    head.text = _text_of(lines)
    return head


def hints(status: int, fields: Iterable[tuple[bytes, bytes]]) -> Head:
    """The head of an interim answer: what means something to the connection is left out."""
    return head_of(status, [one for one in fields if _STARTS[one[0]][0] is PLAIN])


def _text_of(lines: list[bytes]) -> bytes:
    """Raises InvalidAnswer where a value would end its line."""
    text = b"".join(lines)
    if _CR in text or _LF in text or 0 in text:
        raise InvalidAnswer("CR, LF or NUL in a header")
    return b"\r\n".join(lines) + b"\r\n"


@lru_cache(2)
def date_line(seconds: int) -> bytes:
    """The field Date for a second since 1970."""
    return b"Date: " + formatdate(seconds, usegmt=True).encode()


def phrase(status: int) -> bytes:
    """The usual words for a status; b"" for one that nobody registered."""
    return _PHRASES.get(status, b"")
