"""A connection: the reading half, and the answers. The package's docstring says how it is used."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from supervisor.workers.web.http1.answers import Head, InvalidAnswer, head_of, hints, phrase
from supervisor.workers.web.http1.incoming import Incoming
from supervisor.workers.web.http1.reading import CHUNK_SIZE, DONE, GIVEN_UP, IDLE, Reading
from supervisor.workers.web.http1.request import Limits, Request


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
        Incoming.__init__(self, limits)  # of each connection: super() costs as much again
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
        has_begun = self.state is not Reading.LENGTH and self.state is not CHUNK_SIZE
        return b"" if has_begun else b"HTTP/1.1 100 Continue\r\n\r\n"

    def interim(self, status: int, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
        """An interim answer (103). Raises InvalidAnswer."""
        if not 100 < status < 200 or self.has_begun:
            raise InvalidAnswer(f"{status} is no interim answer, or comes too late")
        text = hints(status, fields).text + b"\r\n"
        return text if self.request is not None and self.request.is_http11 else b""

    def answer(self, head: Head, date: bytes = b"", length: int | None = None) -> bytes:
        """Begin the answer to `request`: its head. `date` is a line, left out where the application
        gave one; `length` the whole body's, where the caller knows it. Raises InvalidAnswer.
        """
        request = self.request
        if head.status < 200 or self._framing is not NOTHING or request is None:
            raise InvalidAnswer(f"status {head.status} cannot begin an answer here")
        text = head.text
        if head.length is None or head.is_silent or request.method == "HEAD":
            text += self._frame(request, head, length)
        else:
            self._framing = COUNTED
            self._due = head.length
        # A client that still waits for 100 may send its body after all, or another request: the two
        # could not be told apart (RFC 9110, 10.1.1).
        if (
            self.last
            or head.closes
            or not request.keep_alive
            or self._framing is CLOSED
            or (request.waits_for_100 and self.state is not DONE)
        ):
            self.keeps = False
            text += b"Connection: close\r\n"
        else:
            self.keeps = True
            if not request.is_http11:
                text += b"Connection: keep-alive\r\n"
        if date and not head.has_date:
            return text + date + b"\r\n\r\n"
        return text + b"\r\n"

    def whole(self, head: Head, body: bytes, date: bytes) -> bytes:
        """A whole answer, as `answer`, `body` and `end` would make it in more steps; one that is
        not allowed is forgotten. Raises InvalidAnswer.
        """
        size = len(body)
        text = self.answer(head, date, size)
        if self._framing is SILENT:
            body = b""
        elif head.length not in (None, size):
            self._framing = NOTHING
            word = "longer" if size > (head.length or 0) else "shorter"
            raise InvalidAnswer(f"the body is {word} than its Content-Length")
        self._framing = OVER
        return text + body

    def _frame(self, request: Request, head: Head, length: int | None) -> bytes:
        """Choose how the body ends, where the application did not say it; return a line that tells
        the client.
        """
        if head.is_silent or request.method == "HEAD":
            self._framing = SILENT
        elif length is not None:
            self._framing = COUNTED
            self._due = length
            return b"Content-Length: %d\r\n" % length
        elif request.is_http11:
            self._framing = CHUNKED
            return b"Transfer-Encoding: chunked\r\n"
        else:
            self._framing = CLOSED
        return b""

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
        fields = [(b"Content-Type", b"text/plain"), (b"Content-Length", b"%d" % len(text))]
        head = head_of(status, fields).text + b"Connection: close\r\n"
        is_head = self.request is not None and self.request.method == "HEAD"
        ending = date + b"\r\n\r\n" if date else b"\r\n"
        return head + ending + (b"" if is_head else text)

    def renew(self) -> bool:
        """Be ready for the next request. False where the connection has to end instead."""
        if self._framing is not OVER or not self.keeps or self.state is not DONE:
            return False
        self.state = IDLE
        self._framing = NOTHING
        self.request = None
        return True

    def hand_over(self) -> bytes:
        """Be done, for another protocol begins; return the bytes that are its first."""
        self.state = GIVEN_UP
        rest, self.rest = self.rest, b""
        return rest

    def close(self) -> None:
        """Read nothing more, and let go of the parser, which holds this object."""
        self.state = GIVEN_UP
        self._parser = None
