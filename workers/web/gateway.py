"""A WSGI application's side of one request (PEP 3333): its environment, and what it answers."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

from supervisor.workers.web.calls import Call, Service
from supervisor.workers.web.client import Client, FileRange
from supervisor.workers.web.http1 import Request

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Headers = list[tuple[str, str]]

_PLAIN = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}


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


class Gateway:
    """The parts that all requests of a child have in common."""

    def __init__(
        self, application: Application, service: Service, root_path: str, *, threads: int
    ) -> None:
        self.application = application
        self.service = service
        self.root_path = root_path
        self.base: dict[str, Any] = {
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

    def call(self, client: Client, request: Request) -> WsgiCall:
        """The call of a request whose body is whole."""
        return WsgiCall(self.service, client, request, self)


class WsgiCall(Call):
    """One call of the application."""

    __slots__ = ("_close", "_gateway", "_headers", "_parts", "_phrase", "_written", "code")

    def __init__(
        self, service: Service, client: Client, request: Request, gateway: Gateway
    ) -> None:
        super().__init__(service, client, request)
        self._gateway = gateway
        self.code = 0
        self._phrase = b""
        self._headers: Headers = []
        self._written: list[bytes] | None = None
        self._parts: Iterator[bytes] = iter(())
        self._close: Callable[[], object] | None = None

    def respond(self) -> bytes:
        result = self._gateway.application(self._environ(), self.start)
        if type(result) is list and self.code and not self._written:
            body = result[0] if len(result) == 1 else b"".join(result)
            length = len(body)
            return self.whole(self._head(length), body)
        self._close = getattr(result, "close", None)
        if type(result) is FileWrapper and self.code and not self._written:
            return self._respond_file(result)
        return self._respond_parts(result)

    def _respond_parts(self, result: Iterable[bytes]) -> bytes:
        """Asking for a part is what calls start_response where the application is a generator."""
        self._parts = iter(result)
        first = b"".join(self._written or ()) or next((part for part in self._parts if part), b"")
        if not self.code:
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

    def close(self) -> None:
        close, self._close = self._close, None
        if close is not None:
            close()

    def start(
        self, status: str, headers: Headers, exc_info: Any = None
    ) -> Callable[[bytes], object]:
        """`start_response` of PEP 3333."""
        if exc_info and self.client.http.has_begun:
            raise exc_info[1].with_traceback(exc_info[2])
        if self.code and not exc_info:
            raise RuntimeError("start_response was called twice")
        code, _, phrase = status.partition(" ")
        self.code = int(code)
        self._phrase = phrase.encode("latin-1")
        self._headers = headers
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

    def _head(self, length: int | None) -> bytes:
        fields = [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in self._headers
        ]
        return self.head(self.code, fields, self._phrase, length)

    def _part(self, data: bytes) -> bytes:
        self.size += len(data)
        return self.client.http.body(data)

    def _environ(self) -> dict[str, Any]:
        client, request = self.client, self.request
        environ = self._gateway.base.copy()
        path, _, query = request.target.partition(b"?")
        environ["REQUEST_METHOD"] = request.method
        environ["PATH_INFO"] = (unquote_to_bytes(path) if b"%" in path else path).decode("latin-1")
        environ["QUERY_STRING"] = query.decode("latin-1")
        environ["SERVER_PROTOCOL"] = "HTTP/1.1" if request.is_http11 else "HTTP/1.0"
        environ["SERVER_NAME"], environ["SERVER_PORT"] = client.local
        environ["REMOTE_ADDR"] = client.peer
        environ["REMOTE_PORT"] = str(client.port)
        environ["wsgi.early_hints"] = self.hint
        environ["wsgi.input"] = client.body.file() if client.body else io.BytesIO()
        for name, value in request.fields:
            key = _key(name)
            if key in environ:
                joint = "; " if key == "HTTP_COOKIE" else ","
                environ[key] += joint + value.decode("latin-1")
            elif key:
                environ[key] = value.decode("latin-1")
        if request.length is None and client.body:  # in chunks, which are gone
            environ["CONTENT_LENGTH"] = str(client.body.size)
            del environ["HTTP_TRANSFER_ENCODING"]
        if client.is_secure:
            environ["wsgi.url_scheme"] = "https"
            environ["HTTPS"] = "on"
        if self._gateway.root_path or self.origin or self.identity:
            self._amend(environ)
        return environ

    def _amend(self, environ: dict[str, Any]) -> None:
        """Prefixes, and what trusted proxies say."""
        prefix, came = self._gateway.root_path, self.origin
        if prefix and environ["PATH_INFO"].startswith(prefix):
            environ["PATH_INFO"] = environ["PATH_INFO"][len(prefix) :]
        if self.identity:
            environ[_key(self.service.request_id)] = self.identity
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


@lru_cache(1024)
def _key(name: bytes) -> str:
    """The key of a header field; "" for one with an underscore, which would pose as another."""
    if b"_" in name:
        return ""
    text = _PLAIN.get(name)
    return text or "HTTP_" + name.decode("latin-1").upper().replace("-", "_")


def _bytes(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text


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
