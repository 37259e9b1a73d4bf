"""Halves of heads that llhttp and `judge` have accepted before, and what they said of them.

Clients repeat themselves: a browser, a proxy or a probe sends the same fields with every request,
and most requests go to few targets. So a head is cut in front of its version, and each half is
looked up by its bytes; the parser is asked where one of them is new.

    GET /cart?n=1 | HTTP/1.1 CRLF Host: shop CRLF CRLF

The halves are kept only of a head of which neither says anything about the other:

* The target is a path: the absolute form would have to agree with Host, the others with the method.
* There is one Host, so that the version does not matter to it. It stands in the second half, as
  `Connection` does, whose meaning depends on it.
* No body follows, and no other protocol: what comes next depends on nothing that the parser knows.

The first half ends where llhttp saw the end of a path, the second begins there, whatever was before
it. A client may invent as many as it likes: they are short, and at most some hundred.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from supervisor.workers.web.http1.memo import Bounded
from supervisor.workers.web.http1.request import Fields, Request

VERSION: Final = b" HTTP/1."  # the second half begins so
_MOST: Final = 256  # of each kind
LONGEST: Final = 2048  # bytes of a head
_SLASH: Final = ord("/")
_FRAMING: Final = frozenset((b"content-length", b"transfer-encoding", b"expect", b"upgrade"))


class Line(NamedTuple):
    """The first half: see Request."""

    method: str
    target: bytes
    name: bytes


class Block:
    """The second half: see Request. It is shared, so nobody changes it."""

    __slots__ = ("fields", "is_http11", "keep_alive", "named")

    def __init__(self, request: Request) -> None:
        self.fields: Fields = request.fields
        self.named = request.named
        self.is_http11 = request.is_http11
        self.keep_alive = request.keep_alive


LINES: Final[Bounded[bytes, Line]] = Bounded(_MOST)
BLOCKS: Final[Bounded[bytes, Block]] = Bounded(_MOST)


def remember(head: bytes, request: Request) -> None:
    """Keep the halves of a head that was accepted as this request, where they are of that kind."""
    named = request.named
    if len(head) > LONGEST or b"host" not in named or not _FRAMING.isdisjoint(named):
        return
    if request.raw_target[0] == _SLASH:
        at = head.index(VERSION)  # a path has no space: this is the end of the line
        LINES.keep(head[:at], Line(request.method, request.target, request.name))
        BLOCKS.keep(head[at:], Block(request))


def joined(line: Line, block: Block) -> Request:
    """The request of two halves."""
    request = Request()
    request.line = line
    request.method, request.target, request.name = line
    request.raw_target = request.target
    request.block = block
    request.fields = block.fields
    request.named = block.named
    request.is_http11 = block.is_http11
    request.keep_alive = block.keep_alive
    request.complete = True
    request.length = 0
    request.upgrade = b""
    request.waits_for_100 = False
    return request
