"""A WSGI application on the engine granian, for HTTP/2: its request and response (PEP 3333)."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from supervisor.child.child import Child
from supervisor.child.requests import Request
from supervisor.log.entries import pairs
from supervisor.workers.web import access_log, proxies
from supervisor.workers.web.application import ApplicationOptions
from supervisor.workers.web.gateway import Application

Headers = list[tuple[str, str]]

_BUFFER = 65_536  # bytes of a request's body read at once
_TOO_LARGE = "413 Content Too Large"


class Call(Protocol):
    """Answers one request. `is_last`: whether its connection ends with it; asked when the response
    begins.
    """

    def __call__(
        self, protocol: Any, scope: dict[str, Any], is_last: Callable[[], bool] | None = None
    ) -> None: ...


class Response:
    """The answer that the application gives through `start_response`, `write` and its result."""

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
        """Send nothing of an application's answer that caught the exception of a refusal."""
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


class Http2:
    """The engine's threads accept, parse and call; the main thread waits for the stop."""

    def __init__(self, child: Child, application: Application, options: Any) -> None:
        from supervisor.workers.engines.granian import Granian

        self._child = child
        self._threads: int = options.threads
        self._call: Call = WsgiCalls(application, child, options, self._threads).call
        if len(child.listeners) > 1:
            self._call = at_most(self._call, self._threads)
        self._engine = Granian(child, options, "wsgi", self._call, threads=self._threads)

    def run(self) -> None:
        """Serve until told to stop."""
        self._engine.start()
        while not self._child.stopping:
            self._child.pause()
        self._engine.drain(self._threads)


def at_most(call: Call, threads: int) -> Call:
    """The call, at most so many at once: each listener has an engine, and each engine `threads`."""
    turn = threading.Semaphore(threads)

    def wait_and_call(
        protocol: Any, scope: dict[str, Any], is_last: Callable[[], bool] | None = None
    ) -> None:
        with turn:
            call(protocol, scope, is_last)

    return wait_and_call


class WsgiCalls:
    """Turns what the engine hands over into one call of the application (PEP 3333)."""

    def __init__(
        self, application: Application, child: Child, options: ApplicationOptions, threads: int
    ) -> None:
        self._application = proxies.wsgi(application, options.trusted_proxies)
        self._child = child
        self._log = access_log.log(options, child)
        self._prefix = options.root_path
        self._body_limit = options.body_limit
        self._base: dict[str, Any] = {
            "SCRIPT_NAME": options.root_path,
            "wsgi.errors": sys.stderr,
            "wsgi.input_terminated": True,
            "wsgi.multiprocess": True,
            "wsgi.multithread": threads > 1,
            "wsgi.run_once": False,
            "wsgi.version": (1, 0),
        }

    def call(
        self, protocol: Any, scope: dict[str, Any], is_last: Callable[[], bool] | None = None
    ) -> None:
        """Answer one request; whatever the application raises is an error of that request."""
        log = self._log
        begun = log.begin() if log else None
        response = Response(protocol, is_last or self._is_stopping)
        environ = self._environ(scope, response)
        with self._child.request() as request:
            self._answer(environ, response, request)
            if response.code >= 500:
                request.fail()
        if log and begun:
            log.end(begun, _served(environ, response.code, response.size))

    def _is_stopping(self) -> bool:
        return self._child.stopping

    def _answer(self, environ: dict[str, Any], response: Response, request: Request) -> None:
        try:
            if self._body_limit and _length(environ) > self._body_limit:
                response.refuse(_TOO_LARGE)
            else:
                response.send(self._application(environ, response.start))
        except TooLarge:
            response.refuse(_TOO_LARGE)
        except (Exception, SystemExit) as error:
            request.fail()
            facts = pairs(path=environ["PATH_INFO"])
            if isinstance(error, HungUp):
                self._child.log.info("request failed %s error=client-hung-up", facts)
            else:
                self._child.log.error("request failed %s", facts, exc_info=error)
            response.refuse("500 Internal Server Error")

    def _environ(self, scope: dict[str, Any], response: Response) -> dict[str, Any]:
        environ = self._base | scope
        if self._prefix and environ["PATH_INFO"].startswith(self._prefix):
            environ["PATH_INFO"] = environ["PATH_INFO"][len(self._prefix) :]
        if "CONTENT_LENGTH" in environ or "HTTP_TRANSFER_ENCODING" in environ:
            source, length = scope["wsgi.input"], _length(environ)
            body = Body(source, length, self._body_limit, response.no_more)
            environ["wsgi.input"] = io.BufferedReader(body, _BUFFER)
        else:
            environ["wsgi.input"] = io.BytesIO()
        return environ


def _length(environ: dict[str, Any]) -> int:
    return int(environ.get("CONTENT_LENGTH") or 0)


def _served(environ: dict[str, Any], status: int, size: int) -> access_log.Served:
    query = f"?{environ['QUERY_STRING']}" if environ["QUERY_STRING"] else ""
    return access_log.Served(
        client=environ["REMOTE_ADDR"],
        method=environ["REQUEST_METHOD"],
        target=environ["PATH_INFO"] + query,
        protocol=environ["SERVER_PROTOCOL"],
        status=status,
        size=size,
        fields={
            name[5:].replace("_", "-").lower().encode("latin-1"): value.encode("latin-1")
            for name, value in environ.items()
            if name.startswith("HTTP_")
        },
    )
