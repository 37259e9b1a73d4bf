"""The reading half of a connection: bytes in, events out.

The machine finds where a head, a body, a chunk and a line of it end, and gives the parser exactly
these bytes. So it stops between two requests, knows the size of everything that is no body, and
yields the same events however the bytes were split. What they say, and whether they are right, is
llhttp's to tell.
"""

from __future__ import annotations

from collections.abc import Callable

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from supervisor.workers.web.http1.known import (
    BLOCKS,
    LINES,
    LONGEST,
    VERSION,
    joined,
    remember,
)
from supervisor.workers.web.http1.reading import (
    CHUNK,
    CHUNK_SIZE,
    DONE,
    END,
    ENDING,
    EXTENDED_SIZE,
    FAULTY,
    HEAD,
    IDLE,
    LENGTH,
    METHOD,
    METHOD_SO_FAR,
    TRAILERS,
    Event,
    end_of_head,
    is_over,
    status_of,
    too_long,
)
from supervisor.workers.web.http1.request import Fields, Limits, Refusal, Request, judge

_CR = 13
_EMPTY = frozenset((b"", b"\r", b"\n"))
_EMPTY_LINES = (b"\r\n", b"\n")
_EXTENSION, _EXTENSIONS = 4096, 65_536  # bytes of the line before a chunk; of all in a body


class Incoming:
    """Reads requests: `request` is the one in hand, `state` says where in it the bytes end, `rest`
    came and is not looked at yet, nearly always of the next request.
    """

    __slots__ = (
        "_complete",
        "_fields",
        "_head",
        "_keep_alive",
        "_left",
        "_limits",
        "_named",
        "_parser",
        "_pieces",
        "_refusal",
        "_size",
        "_spent",
        "request",
        "rest",
        "state",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._parser: HttpRequestParser | None = None  # made for the first head that is new
        self.rest = b""
        self.request: Request | None = None
        self.state = IDLE

    def _begin_head(self) -> None:
        """A head begins that the parser is asked about."""
        self._parser = self._parser or HttpRequestParser(self)
        self._head = b""  # came of a head that is not whole
        self._fields: Fields = []
        self._named: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []  # of a body, for the next event
        self._complete = False
        self._keep_alive: bool | None = None  # None until the parser has seen the end of the head
        self._left = 0  # bytes of the body, or of the chunk and its CRLF, to come
        self._size = 0  # of the body so far, where it is chunked
        self._spent = 0  # bytes of chunk extensions, then of trailers
        self._refusal: Refusal | None = None

    @property
    def waiting(self) -> int:
        """The number of bytes in `rest`."""
        return len(self.rest)

    def receive(self, data: bytes = b"") -> Event | None:
        """Take bytes that came; return the next event. None: more are needed, or it is DONE."""
        if self.rest:
            data = self.rest + data
            self.rest = b""
        if self.state is not IDLE:
            return _STEPS[self.state](self, data)
        if len(data) <= LONGEST:  # nearly always one whole head has come and nothing else
            at = data.find(VERSION)
            line, block = LINES.get(data[:at]), BLOCKS.get(data[at:])
            if line is not None and block is not None and len(data) <= self._limits.header:
                self.state = DONE
                self.request = request = joined(line, block)
                return request
        return self._new_head(data)

    # The parser calls these.

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a field of the head. Trailers come here too, into collections that nobody reads."""
        name, value = name.lower(), value.rstrip(b" \t")
        self._fields.append((name, value))
        self._named[name] = value

    def on_headers_complete(self) -> None:
        """Ask now: after the message the parser has forgotten it."""
        self._keep_alive = self._parser.should_keep_alive()  # type: ignore[union-attr]

    def on_body(self, data: bytes) -> None:
        self._pieces.append(data)

    # The head.

    def _new_head(self, data: bytes) -> Event | None:
        if data[:1] in _EMPTY:  # lines before a request, which a server ignores (RFC 9112, 2.2)
            data = data.lstrip(b"\r\n")
            if not data:
                return None
        self._begin_head()
        end = data.find(b"\r\n\r\n") + 4
        if end < 4 or end > self._limits.header:
            self.state = HEAD
            return self._in_head(data)
        head, self.rest = data[:end], data[end:]
        event = self._parse(head, head)
        if isinstance(event, Request):
            remember(head, event)
        return event

    def _in_head(self, data: bytes) -> Event | None:
        """Parse a head as it comes, so that one that is malformed is refused at once."""
        before = self._head
        piece = data[: min(end_of_head(before, data), self._limits.header - len(before))]
        self._head = before + piece
        self.rest = data[len(piece) :]
        event = self._parse(piece, self._head) if piece else None
        if event is None and len(self._head) >= self._limits.header:
            return self._refuse(too_long(self._head))
        return event

    def _parse(self, piece: bytes, head: bytes) -> Event | None:
        """Give the parser a piece of a head. None: the head is not whole."""
        is_upgrade = False
        try:
            self._parser.feed_data(piece)  # type: ignore[union-attr]
        except HttpParserUpgrade:
            is_upgrade = True
        except HttpParserError as error:
            self._head = head
            return self._refuse_head(str(error))
        if self._keep_alive is None:
            self._head = head
            return self._refuse_head("no request") if is_over(head) else None
        line = head[: head.index(_CR)]
        request = judge(line, self._fields, self._named, self._limits)
        if isinstance(request, Refusal):
            return self._refuse(request)
        self.request = request
        request.keep_alive = self._keep_alive
        if is_upgrade:
            self._note_upgrade(request)
        if request.complete:
            self.state = DONE
        else:
            self._expect_body(request)
        return request

    def _expect_body(self, request: Request) -> None:
        self._complete = False
        self._fields, self._named = [], {}  # of trailers
        self._size = self._spent = 0
        self._left = request.length or 0
        self.state = CHUNK_SIZE if request.length is None else LENGTH

    def _note_upgrade(self, request: Request) -> None:
        """llhttp takes all that follows for the other protocol, and the request for whole. A body
        in between is read by a new parser, which does not know of the upgrade.
        """
        if request.complete:
            request.upgrade = request.named[b"upgrade"].lower() if request.is_http11 else b""
            return
        self._parser = HttpRequestParser(self)
        self._parser.feed_data(
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            if request.length is None
            else b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % request.length
        )

    def _refuse_head(self, reason: str) -> Event | None:
        if "method" in reason:
            return self._in_method(b"")
        return self._refuse(Refusal(status_of(reason, self._head), reason))

    def _in_method(self, data: bytes) -> Event | None:
        """An unknown method is 501, but what is no method at all 400."""
        self.state = METHOD
        self._head += data
        end = METHOD_SO_FAR.match(self._head).end()  # type: ignore[union-attr]  # it matches nothing too
        if end < len(self._head):
            is_method = end > 0 and self._head[end] == 0x20
            return self._refuse(Refusal(501 if is_method else 400, "not a method known here"))
        if end >= self._limits.header:
            return self._refuse(too_long(self._head))
        return None

    # The body.

    def _in_length(self, data: bytes) -> Event | None:
        if not data:
            return None
        left = self._left
        if len(data) > left:
            self.rest = data[left:]
            data = data[:left]
        self._left = left - len(data)
        self._complete = not self._left
        return self._told(self._feed(data))

    def _in_chunks(self, data: bytes) -> Event | None:
        at, refusal = 0, None
        while at < len(data) and refusal is None and not self._complete:
            if self.state is CHUNK:
                end = min(at + self._left, len(data))
                refusal = self._in_chunk(data[at:end])
            else:
                end = data.find(b"\n", at) + 1
                if not end:
                    refusal = self._line_to_come(len(data) - at)
                    break
                refusal = self._line(data[at:end])
            at = end
        self.rest = data[at:]
        return self._told(refusal)

    def _in_chunk(self, data: bytes) -> Refusal | None:
        self._left -= len(data)
        if not self._left:
            self.state = CHUNK_SIZE
        return self._feed(data)

    def _line(self, line: bytes) -> Refusal | None:
        """A line between two chunks, or after the last."""
        if self.state is TRAILERS:
            self._spent += len(line)
            self._complete = line in _EMPTY_LINES
            return self._line_to_come(-1) or self._feed(line)
        refusal = self._line_to_come(len(line) - 1)
        return refusal or self._size_line(line)

    def _line_to_come(self, size: int) -> Refusal | None:
        """Refuse a line of which so many bytes are there, and at least one is to come."""
        if self.state is TRAILERS:
            is_longer = self._spent + size >= self._limits.header
            return Refusal(431, "trailers too long") if is_longer else None
        return Refusal(400, "chunk extension too long") if size >= _EXTENSION else None

    def _size_line(self, line: bytes) -> Refusal | None:
        digits = line
        if b";" in line:
            found = EXTENDED_SIZE.fullmatch(line)
            if found is None:
                return Refusal(400, "malformed chunk extension")
            digits = found[1] + b"\r\n"
            self._spent += len(line) - len(digits)
            if self._spent > _EXTENSIONS:
                return Refusal(400, "chunk extensions too long")
        return self._feed(digits) or self._begin_chunk(int(digits, 16))

    def _begin_chunk(self, size: int) -> Refusal | None:
        """The parser has checked the digits. The chunk of no bytes is the last."""
        self._size += size
        if self._limits.body and self._size > self._limits.body:
            return Refusal(413, f"a body of more than {self._limits.body} bytes")
        self._left = size + 2
        self.state = CHUNK if size else TRAILERS
        if not size:
            self._spent = 0
        return None

    def _feed(self, data: bytes) -> Refusal | None:
        try:
            self._parser.feed_data(data)  # type: ignore[union-attr]
        except HttpParserError as error:
            return Refusal(400, str(error))
        return None

    def _told(self, refusal: Refusal | None) -> Event | None:
        """The part of the body that has come; the end, or the fault, if there is none."""
        if refusal:
            self._refusal, self.state = refusal, FAULTY
        elif self._complete:
            self.state = ENDING
        pieces = self._pieces
        if pieces:
            self._pieces = []
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return None if refusal is None and not self._complete else self.receive()

    # The end.

    def _ending(self, data: bytes) -> Event:
        self.rest = data
        self.state = DONE
        return END

    def _keep(self, data: bytes) -> None:
        """Keep the bytes beyond the request in hand until their turn."""
        self.rest = data

    def _faulty(self, _: bytes) -> Event | None:
        """The fault is told once, and nothing is read after it."""
        refusal, self._refusal = self._refusal, None
        return refusal

    def _refuse(self, refusal: Refusal) -> Refusal:
        self.state = FAULTY
        self.rest = b""
        return refusal


# By state; a tuple, for an enum's hash is slow.
_STEPS: tuple[Callable[[Incoming, bytes], Event | None], ...] = (
    Incoming.receive,
    Incoming._in_head,
    Incoming._in_method,
    Incoming._in_length,
    Incoming._in_chunks,
    Incoming._in_chunks,
    Incoming._in_chunks,
    Incoming._ending,
    Incoming._keep,
    Incoming._faulty,
    Incoming._keep,
)
