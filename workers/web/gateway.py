"""A WSGI application's side of one request (PEP 3333): its environment, and what it answers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

from supervisor.workers.web.calls import Call, MakeCall, Service
from supervisor.workers.web.client import FileRange
from supervisor.workers.web.http1 import Block, Head, Line, Request, head_of
from supervisor.workers.web.http1.memo import Memo

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Headers = list[tuple[str, str]]
Halves = tuple[Line, Block]

_NAMED = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}


_OF_A_REQUEST = (
    "REQUEST_METHOD",
    "PATH_INFO",
    "QUERY_STRING",
    "SERVER_PROTOCOL",
    "SERVER_NAME",
    "SERVER_PORT",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "wsgi.early_hints",
    "wsgi.input",
)


def _roomy(environ: dict[str, Any]) -> dict[str, Any]:
    """The same with room for a dozen headers more: a copy has it too, and does not have to grow."""
    roomy: dict[Any, Any] = dict.fromkeys([*environ, 0, 1, 2, 3])
    for number in range(4):
        del roomy[number]
    roomy.update(environ)
    return roomy


class FileWrapper:
    """`wsgi.file_wrapper`: the parts of a file; one with a descriptor is sent by the kernel."""

    def __init__(self, file: Any, block: int = 65_536) -> None:
        self.file = file
        self._block = block
        if hasattr(file, "close"):
            self.close = file.close

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.file.read(self._block), b"")

    def span(self, length: int | None) -> FileRange | None:
        """The rest of the file, for sendfile; None where it is no plain file."""
        try:
            descriptor, at = self.file.fileno(), self.file.tell()
            size = self.file.seek(0, 2) - at
            self.file.seek(at)
        except (AttributeError, OSError, ValueError):
            return None
        left = size if length is None else min(size, length)
        return FileRange(descriptor, at, left) if left > 0 else None


class Gateway(Service):
    """A service with an application, and the part of the environment that all its requests share.
    `call` is the call of a request whose body is whole.
    """

    def __init__(
        self, application: Application, root_path: str, threads: int, *facts: Any, **more: Any
    ) -> None:
        super().__init__(*facts, **more)
        self.application = application
        self.root_path = root_path
        self.base = _roomy(
            {
                **dict.fromkeys(_OF_A_REQUEST, ""),
                "SCRIPT_NAME": root_path,
                "wsgi.errors": sys.stderr,
                "wsgi.file_wrapper": FileWrapper,
                "wsgi.input_terminated": True,
                "wsgi.multiprocess": True,
                "wsgi.multithread": threads > 1,
                "wsgi.run_once": False,
                "wsgi.url_scheme": "http",
                "wsgi.version": (1, 0),
            }
        )
        self.call: MakeCall = partial(WsgiCall, self)
        # As many as there are halves of heads that were seen before: they are clients' to invent.
        self.known: Memo[Halves, dict[str, Any]] = Memo(self._of_halves, 256)

    def of_request(self, request: Request) -> dict[str, Any]:
        """The environment as far as the head of a request gives it."""
        line, block = request.line, request.block
        if line is None or block is None:
            return self.base | _of_line(request) | _of_block(request)
        return self.known[line, block].copy()

    def _of_halves(self, halves: Halves) -> dict[str, Any]:
        line, block = halves
        return _roomy(self.base | _of_line(line) | _of_block(block))


class WsgiCall(Call):
    """One call of the application. `status` is 0 until it has called start_response."""

    __slots__ = ("_headers", "_parts", "_phrase", "_written")

    service: Gateway
    _headers: Headers
    _phrase: bytes
    _parts: Iterator[bytes]
    _written: list[bytes] | None  # from start_response on

    def respond(self) -> bytes:
        result = self.service.application(self._environ(), self.start)
        if type(result) is list and self.status and not self._written:
            body = result[0] if len(result) == 1 else b"".join(result)
            return self.whole(self._given(), body)
        self.closing = getattr(result, "close", None)
        if type(result) is FileWrapper and self.status and not self._written:
            return self._respond_file(result)
        return self._respond_parts(result)

    def _respond_parts(self, result: Iterable[bytes]) -> bytes:
        """Asking for a part is what calls start_response where the application is a generator."""
        self._parts = iter(result)
        written = b"".join(self._written or ()) if self.status else b""
        first = written or next((part for part in self._parts if part), b"")
        if not self.status:
            raise RuntimeError("start_response was not called")
        is_whole = not self._written and _is_single(result, first)
        length = len(first) if is_whole else None
        self.more = True
        return self._head(length) + self._part(first)

    def _respond_file(self, wrapper: FileWrapper) -> bytes:
        span = wrapper.span(_length_of(self._headers))
        if span is None:
            return self._respond_parts(wrapper)
        http = self.client.http
        head = self._head(span.left)
        around = http.count(span.left)
        if around is not None:
            self.file, self.size = span, span.left
        self.more = True  # until it is sent the file stays open
        return head + (around[0] if around else b"")

    def step(self) -> bytes:
        if self.file is not None:
            self.file = None
            self._parts = iter(())
        for part in self._parts:
            if part:
                return self._part(part)
        self.more = False
        return self.client.http.end()

    def start(
        self, status: str, headers: Headers, exc_info: Any = None
    ) -> Callable[[bytes], object]:
        """`start_response` of PEP 3333."""
        if exc_info and self.client.http.has_begun:
            raise exc_info[1].with_traceback(exc_info[2])
        if self.status and not exc_info:
            raise RuntimeError("start_response was called twice")
        self.status, self._phrase = _STATUSES[status]
        self._headers = headers
        self._written = None
        return self._write

    def hint(self, headers: Iterable[tuple[str | bytes, str | bytes]]) -> None:
        """`wsgi.early_hints`, the name that gunicorn gave it: send these headers now (103, RFC
        8297), at most before the answer, and never to HTTP/1.0. Raises InvalidAnswer.
        """
        http = self.client.http
        if not http.has_begun:
            data = http.interim(103, [(_bytes(name), _bytes(value)) for name, value in headers])
            if data:
                self.service.send_now(self, data)

    def _write(self, data: bytes) -> None:
        """The `write` of old applications: kept until they return."""
        if self._written is None:
            self._written = []
        self._written.append(data)

    def _given(self) -> Head:
        """The head that the application gave. Raises InvalidAnswer."""
        return _HEADS.of((self.status, self._phrase, tuple(self._headers)))

    def _head(self, length: int | None) -> bytes:
        return self.head(self._given(), length)

    def _part(self, data: bytes) -> bytes:
        self.size += len(data)
        return self.client.http.body(data)

    def _environ(self) -> dict[str, Any]:
        client, request = self.client, self.request
        body, environ = client.body, self.service.of_request(request)
        environ["SERVER_NAME"], environ["SERVER_PORT"] = client.local
        environ["REMOTE_ADDR"] = client.peer
        environ["REMOTE_PORT"] = str(client.port)
        environ["wsgi.early_hints"] = self.hint
        environ["wsgi.input"] = body.file() if body else BytesIO()
        if request.length is None and body:  # in chunks, which are gone
            environ["CONTENT_LENGTH"] = str(body.size)
            del environ["HTTP_TRANSFER_ENCODING"]
        if client.is_secure:
            environ["wsgi.url_scheme"] = "https"
            environ["HTTPS"] = "on"
        if self.service.root_path or self.origin or self.identity:
            self._amend(environ)
        return environ

    def _amend(self, environ: dict[str, Any]) -> None:
        """Prefixes, and what trusted proxies say."""
        prefix, came = self.service.root_path, self.origin
        if prefix and environ["PATH_INFO"].startswith(prefix):
            environ["PATH_INFO"] = environ["PATH_INFO"][len(prefix) :]
        if self.identity:
            environ[_KEYS[self.service.request_id]] = self.identity
        if came is None:
            return
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = came.client, str(came.port)
        environ["wsgi.url_scheme"] = came.scheme
        environ["SCRIPT_NAME"] = came.prefix + environ["SCRIPT_NAME"]
        if came.host:
            environ["HTTP_HOST"] = came.host
            name, _, port = came.host.rpartition(":") if ":" in came.host else (came.host, "", "")
            environ["SERVER_NAME"] = name
            environ["SERVER_PORT"] = port or ("443" if came.scheme == "https" else "80")
        if came.host_port:
            environ["SERVER_PORT"] = came.host_port


def _key(name: bytes) -> str:
    """The key of a header field; "" for one with an underscore, which would pose as another."""
    if b"_" in name:
        return ""
    text = _NAMED.get(name)
    return text or "HTTP_" + name.decode("latin-1").upper().replace("-", "_")


def _bytes(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text


def _status(status: str) -> tuple[int, bytes]:
    """The number and the words of what an application gave to start_response."""
    code, _, phrase = status.partition(" ")
    return int(code), phrase.encode("latin-1")


def _head_of(start: tuple[int, bytes, tuple[tuple[str, str], ...]]) -> Head:
    """The head of status, phrase and headers."""
    status, phrase, headers = start
    fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return head_of(status, fields, phrase)


def _of_line(line: Line | Request) -> dict[str, str]:
    """The part of the environment that the method and the target give."""
    path, _, query = line.target.decode("latin-1").partition("?")
    if "%" in path:
        path = unquote_to_bytes(path.encode("latin-1")).decode("latin-1")
    return {"REQUEST_METHOD": line.method, "PATH_INFO": path, "QUERY_STRING": query}


def _of_block(block: Block | Request) -> dict[str, str]:
    """The part that the version and the fields give; those of one name are joined."""
    found = {"SERVER_PROTOCOL": "HTTP/1.1" if block.is_http11 else "HTTP/1.0"}
    for name, value in block.fields:
        key, text = _KEYS[name], value.decode("latin-1")
        joint = "; " if key == "HTTP_COOKIE" else ","
        found[key] = found[key] + joint + text if key in found else text
    found.pop("", None)
    return found


_KEYS: Memo[bytes, str] = Memo(_key, 1024)
_STATUSES: Memo[str, tuple[int, bytes]] = Memo(_status, 256)
_HEADS: Memo[tuple[int, bytes, tuple[tuple[str, str], ...]], Head] = Memo(_head_of, 256)


def _is_single(result: Iterable[bytes], first: bytes) -> bool:
    """PEP 3333: the length of a single part is that of the body."""
    try:
        return bool(first) and len(result) == 1  # type: ignore[arg-type]
    except TypeError:
        return False


def _length_of(headers: Headers) -> int | None:
    for name, value in headers:
        if name.lower() == "content-length" and value.isdigit():
            return int(value)
    return None
