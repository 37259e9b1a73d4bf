"""The two sides of one WSGI request (PEP 3333) towards the engine: its body, and the response."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

Headers = list[tuple[str, str]]


class Call(Protocol):
    """Answers one request. `is_last`: whether its connection ends with it; asked when the response
    begins.
    """

    def __call__(
        self, protocol: Any, scope: dict[str, Any], is_last: Callable[[], bool] | None = None
    ) -> None: ...


class Response:
    """What the application says through `start_response`, `write` and its result."""

    code = 0
    size = 0
    _headers: Headers
    _is_sent = False
    _is_refused = False

    def __init__(self, protocol: Any, is_last: Callable[[], bool]) -> None:
        self._protocol = protocol
        self._is_last = is_last
        self._written: list[bytes] = []

    def start(
        self, status: str, headers: Headers, exc_info: Any = None
    ) -> Callable[[bytes], object]:
        """`start_response` of PEP 3333."""
        if exc_info and self._is_sent:
            raise exc_info[1].with_traceback(exc_info[2])
        if self.code and not exc_info:
            raise RuntimeError("start_response was called twice")
        self.code = int(status.split(None, 1)[0])
        self._headers = headers
        return self._written.append

    def send(self, result: Iterable[bytes]) -> None:
        """Send what the application returned, at once where it is whole, and close it."""
        if type(result) is list and self.code and not self._written:
            self._send_whole(b"".join(result))
            return
        try:
            self._send_parts(iter(result))
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def no_more(self) -> None:
        """What the application will answer, which caught the reason, shall not be sent."""
        self._is_refused = True

    def refuse(self, status: str) -> None:
        """Answer for the application, unless it has answered."""
        self._is_refused = False
        if not self._is_sent:
            self.code, self._headers = int(status[:3]), [("Content-Type", "text/plain")]
            self._send_whole(f"{status[4:]}\n".encode())

    def _send_parts(self, parts: Iterator[bytes]) -> None:
        # Asking for a part is what calls start_response where the application is a generator.
        first = b"".join(self._written) or next((part for part in parts if part), b"")
        if not self.code:
            raise RuntimeError("start_response was not called")
        if self._length() == len(first):
            self._send_whole(first)
            for _ in parts:
                pass
            return
        self._begin()
        source = _Parts(first, parts)
        self._protocol.response_iter(self.code, self._all_headers(), source)
        self.size = source.size
        if source.error is not None:
            raise source.error

    def _send_whole(self, body: bytes) -> None:
        self._begin()
        self.size = len(body)
        self._protocol.response_bytes(self.code, self._all_headers(), body)

    def _begin(self) -> None:
        if self._is_refused:
            raise TooLarge("the body was larger than body_limit")
        self._is_sent = True

    def _all_headers(self) -> Headers:
        # Left out again by the engine where it speaks HTTP/2.
        return [*self._headers, ("Connection", "close")] if self._is_last() else self._headers

    def _length(self) -> int | None:
        for name, value in self._headers:
            if name.lower() == "content-length":
                return int(value)
        return None


class _Parts:
    """The parts of a body for the engine, which ends the body quietly at an exception: it is kept.

    The engine calls `close` when it stops, which is before the end where the client hung up.
    """

    def __init__(self, first: bytes, rest: Iterator[bytes]) -> None:
        self.size = 0
        self.error: BaseException | None = None
        self._first = first
        self._rest = rest

    def __next__(self) -> bytes:
        part, self._first = self._first, b""
        try:
            while not part:
                part = next(self._rest)
        except StopIteration:
            raise
        except BaseException as error:
            self.error = error
            raise StopIteration from None
        self.size += len(part)
        return part

    def close(self) -> None:
        """The application's own iterable is closed by Response."""


class HungUp(OSError):
    """The client went away in the middle of its request."""


class TooLarge(OSError):
    """The body of a request, sent without its length, is larger than `body_limit`."""


class Body(io.RawIOBase):
    """The body of a request. The engine's own reader loses the ends of lines and the news that the
    client hung up. `when_too_large` is called before TooLarge is raised.
    """

    def __init__(
        self, source: Any, length: int, limit: int, when_too_large: Callable[[], object]
    ) -> None:
        self._source = source
        self._left = length
        self._limit = limit
        self._when_too_large = when_too_large
        self._read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._source.read(len(buffer))
        count = len(data)
        self._read += count
        self._left -= count
        if not count and self._left > 0:
            raise HungUp("the client hung up before the end of its request")
        if self._limit and self._read > self._limit:
            self._when_too_large()
            raise TooLarge(f"the body is larger than {self._limit} bytes")
        buffer[:count] = data
        return count
