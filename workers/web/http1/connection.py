"""A connection: the reading half, and the answers. The package's docstring says how it is used."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from supervisor.workers.web.http1.answers import WITHOUT_BODY, Head, InvalidAnswer, phrase
from supervisor.workers.web.http1.incoming import Incoming
from supervisor.workers.web.http1.reading import CHUNK_SIZE, DONE, GIVEN_UP, IDLE, LENGTH
from supervisor.workers.web.http1.request import Limits


class Framing(IntEnum):
    """How the body of the answer in hand ends."""

    NOTHING = 0  # no answer has begun
    COUNTED = 1  # by Content-Length
    CHUNKED = 2
    CLOSED = 3  # by the end of the connection
    SILENT = 4  # there is none, whatever the application gives
    OVER = 5  # the answer is whole


NOTHING, COUNTED, CHUNKED, CLOSED, SILENT, OVER = Framing


class Connection(Incoming):
    """One connection of a client, without its socket."""

    __slots__ = ("_due", "_framing", "keeps", "last")

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._framing = NOTHING
        self._due = 0  # bytes that Content-Length announced and that are to come
        self.keeps = False
        self.last = False

    @property
    def has_begun(self) -> bool:
        """True once the head of an answer was made, and not withdrawn."""
        return self._framing is not NOTHING

    def go_on(self) -> bytes:
        """The interim answer 100, if the client waits for it; once."""
        request = self.request
        if request is None or not request.waits_for_100 or self.has_begun:
            return b""
        request.waits_for_100 = False
        has_begun = self.state is not LENGTH and self.state is not CHUNK_SIZE
        return b"" if has_begun else b"HTTP/1.1 100 Continue\r\n\r\n"

    def interim(self, status: int, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
        """An interim answer (103). Raises InvalidAnswer."""
        if not 100 < status < 200 or self.has_begun:
            raise InvalidAnswer(f"{status} is no interim answer, or comes too late")
        head = Head(status, None)
        head.add(fields)
        text = head.text()
        return text if self.request is not None and self.request.is_http11 else b""

    def answer(
        self,
        status: int,
        fields: Iterable[tuple[bytes, bytes]],
        reason: bytes | None = None,
        date: bytes = b"",
        length: int | None = None,
    ) -> bytes:
        """Begin the answer to `request`: its head. `date` is a line with its CRLF, left out where
        the application gave one; `length` the whole body's, where the caller knows it. Raises
        InvalidAnswer.
        """
        request = self.request
        if status < 200 or self._framing is not NOTHING or request is None:
            raise InvalidAnswer(f"status {status} cannot begin an answer here")
        head = Head(status, reason)
        head.add(fields)
        framing = self._frame(head, status, length)
        self._due = head.length or 0
        self.keeps = self._may_keep(framing, head)
        if not self.keeps:
            head.lines.append(b"Connection: close")
        elif not request.is_http11:
            head.lines.append(b"Connection: keep-alive")
        if date and not head.has_date:
            head.lines.append(date)
        text = head.text()
        self._framing = framing
        return text

    def whole(
        self, status: int, fields: Iterable[tuple[bytes, bytes]], body: bytes, date: bytes
    ) -> bytes:
        """A whole answer, as `answer`, `body` and `end` would make it in more steps; one that is
        not allowed is forgotten. Raises InvalidAnswer.
        """
        request = self.request
        if request is None or request.method == "HEAD" or status in WITHOUT_BODY or status < 200:
            return self._in_steps(status, fields, body, date)
        if self._framing is not NOTHING:
            raise InvalidAnswer(f"status {status} cannot begin an answer here")
        head = Head(status, None)
        head.add(fields)
        if head.length not in (None, len(body)):
            is_longer = len(body) > (head.length or 0)
            word = "longer" if is_longer else "shorter"
            raise InvalidAnswer(f"the body is {word} than its Content-Length")
        lines = head.lines
        lines.append(b"Content-Length: %d" % len(body))
        keeps = self._may_keep(COUNTED, head)
        if not keeps:
            lines.append(b"Connection: close")
        elif not request.is_http11:
            lines.append(b"Connection: keep-alive")
        if date and not head.has_date:
            lines.append(date)
        text = head.text()
        self._framing, self.keeps = OVER, keeps
        return text + body

    def _in_steps(
        self, status: int, fields: Iterable[tuple[bytes, bytes]], body: bytes, date: bytes
    ) -> bytes:
        head = self.answer(status, fields, date=date, length=len(body))
        try:
            return head + self.body(body) + self.end()
        except InvalidAnswer:
            self.withdraw()
            raise

    def _frame(self, head: Head, status: int, length: int | None) -> Framing:
        """Choose how the body ends, and say so in the head."""
        request = self.request
        is_silent = status in WITHOUT_BODY or request.method == "HEAD"  # type: ignore[union-attr]
        if head.length is None and not is_silent:
            head.length = length
        if head.length is not None and status != 204:
            head.lines.append(b"Content-Length: %d" % head.length)
        if is_silent:
            return SILENT
        if head.length is not None:
            return COUNTED
        if not request.is_http11:  # type: ignore[union-attr]
            return CLOSED
        head.lines.append(b"Transfer-Encoding: chunked")
        return CHUNKED

    def _may_keep(self, framing: Framing, head: Head) -> bool:
        """A client that still waits for 100 may send its body after all, or another request: the
        two could not be told apart (RFC 9110, 10.1.1).
        """
        request = self.request
        return (
            request is not None
            and request.keep_alive
            and not (self.last or head.closes or framing is CLOSED)
            and (self.state is DONE or not request.waits_for_100)
        )

    def body(self, data: bytes) -> bytes:
        """The bytes to send for a part of the body. Raises InvalidAnswer for one too many."""
        framing = self._framing
        if framing is COUNTED:
            self._spend(len(data))
            return data
        if framing is CHUNKED:
            return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        if framing is CLOSED:
            return data
        if framing is SILENT:
            return b""
        raise InvalidAnswer("a body before the head, or after the end")

    def count(self, size: int) -> tuple[bytes, bytes] | None:
        """Send before and after `size` bytes of the body that the caller sends itself; None: they
        must not be sent. Raises InvalidAnswer.
        """
        if self._framing is CHUNKED:
            return b"%x\r\n" % size, b"\r\n"
        if self._framing is SILENT:
            return None
        if self._framing is COUNTED:
            self._spend(size)
        return b"", b""

    def _spend(self, size: int) -> None:
        if size > self._due:
            raise InvalidAnswer("the body is longer than its Content-Length")
        self._due -= size

    def end(self) -> bytes:
        """The bytes that end the body. Raises InvalidAnswer where some are missing: the connection
        has to end.
        """
        framing, self._framing = self._framing, OVER
        if framing is COUNTED and self._due:
            self.keeps = False
            raise InvalidAnswer(f"the body is {self._due} bytes shorter than its Content-Length")
        return b"0\r\n\r\n" if framing is CHUNKED else b""

    def break_off(self) -> None:
        """The answer cannot be finished: the connection has to end."""
        self._framing, self.keeps = OVER, False

    def withdraw(self) -> None:
        """Forget an answer of which nothing was sent."""
        self._framing = NOTHING

    def refuse(self, status: int, date: bytes = b"") -> bytes:
        """A whole answer of a few words that ends the connection; b"" where one has begun."""
        if self.has_begun:
            return b""
        self._framing, self.keeps = OVER, False
        text = b"%d %b\n" % (status, phrase(status))
        head = Head(status, None)
        head.lines += (
            b"Content-Type: text/plain",
            b"Content-Length: %d" % len(text),
            b"Connection: close",
        )
        if date:
            head.lines.append(date)
        is_head = self.request is not None and self.request.method == "HEAD"
        return head.text() + (b"" if is_head else text)

    def renew(self) -> bool:
        """Be ready for the next request. False where the connection has to end instead."""
        if not self.keeps or self._framing is not OVER or self.state is not DONE:
            return False
        self.state = IDLE
        self._framing = NOTHING
        self._headed = self._complete = self.keeps = False
        self._fields = []
        self._head = b""
        self.request = None
        return True

    def hand_over(self) -> bytes:
        """Be done, for another protocol begins; return the bytes that are its first."""
        self.state = GIVEN_UP
        rest, self._rest = self._rest, b""
        return rest

    def close(self) -> None:
        """Read nothing more, and let go of the parser, which holds this object."""
        self.state = GIVEN_UP
        self._parser = None
