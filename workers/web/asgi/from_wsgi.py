"""A WSGI application as one of ASGI (PEP 3333), for a server that speaks only that: HTTP/2.

It is called when the body of its request is whole; in the main thread, where the event loop waits
meanwhile, or in one of `threads`.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote_to_bytes

from supervisor.child.child import Child
from supervisor.workers.web.asgi.served import ClientGone
from supervisor.workers.web.asgi.static import Application, Message, Receive, Send
from supervisor.workers.web.client import Body
from supervisor.workers.web.gateway import Application as WsgiApplication
from supervisor.workers.web.gateway import FileWrapper, Headers

if TYPE_CHECKING:
    from supervisor.workers.wsgi import WsgiOptions

Result = TypeVar("Result")


def from_wsgi(application: WsgiApplication, child: Child, options: WsgiOptions) -> Application:
    """The application, as one of ASGI."""
    threads = options.threads
    pool = ThreadPoolExecutor(threads) if threads > 1 else None

    async def serve(scope: Message, receive: Receive, send: Send) -> None:
        body = Body(options.body_buffer, child.place.tempdir)
        try:
            await _collect(receive, body)
            environ = _environ(scope, body, options.root_path, threads > 1)
            await _Call(application, child, pool, send).answer(environ)
        finally:
            body.close()

    return serve


async def _collect(receive: Receive, body: Body) -> None:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("the client hung up before the end of its request")
        body.add(message.get("body", b""))
        more = message.get("more_body", False)


class _Call:
    """One call of the application, each step of which has the deadline."""

    def __init__(
        self,
        application: WsgiApplication,
        child: Child,
        pool: ThreadPoolExecutor | None,
        send: Send,
    ) -> None:
        self._application = application
        self._deadline = child.step() or nullcontext()
        self._pool = pool
        self._send = send
        self._code = 0
        self._headers: Headers = []
        self._written: list[bytes] = []
        self._has_begun = False

    async def answer(self, environ: dict[str, Any]) -> None:
        """Call the application, send what it gives, and close that."""
        result = await self._do(partial(self._application, environ, self._start))
        try:
            if type(result) is list and self._code:
                await self._begin()
                await self._send_body(b"".join(self._written + result), more=False)
            else:
                await self._send_parts(iter(result))
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                await self._do(close)

    async def _do(self, step: Callable[[], Result]) -> Result:
        if self._pool is None:
            return self._timed(step)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._timed, step)

    def _timed(self, step: Callable[[], Result]) -> Result:
        with self._deadline:
            return step()

    def _start(
        self, status: str, headers: Headers, exc_info: Any = None
    ) -> Callable[[bytes], object]:
        """`start_response` of PEP 3333."""
        if exc_info and self._has_begun:
            raise exc_info[1].with_traceback(exc_info[2])
        if self._code and not exc_info:
            raise RuntimeError("start_response was called twice")
        self._code, self._headers = int(status.split(None, 1)[0]), headers
        return self._written.append

    async def _send_parts(self, parts: Iterator[bytes]) -> None:
        # Asking for a part is what calls start_response where the application is a generator.
        part = b"".join(self._written) or await self._do(partial(_next, parts))
        await self._begin()
        while part:
            await self._send_body(part, more=True)
            await asyncio.sleep(0)  # a client that reads would never let the loop do anything else
            part = await self._do(partial(_next, parts))
        await self._send_body(b"", more=False)

    async def _begin(self) -> None:
        if not self._code:
            raise RuntimeError("start_response was not called")
        fields = [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in self._headers
        ]
        self._has_begun = True
        await self._send({"type": "http.response.start", "status": self._code, "headers": fields})

    async def _send_body(self, data: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})


def _next(parts: Iterator[bytes]) -> bytes:
    """The next part that is not empty, b"" at the end."""
    return next((part for part in parts if part), b"")


def _environ(scope: Message, body: Body, prefix: str, is_threaded: bool) -> dict[str, Any]:
    path = scope["raw_path"].removeprefix(scope["root_path"].encode())
    path = unquote_to_bytes(path).decode("latin-1")
    host, port = scope.get("server") or ("localhost", 80)
    client = scope["client"] or ("", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": scope["root_path"],
        "PATH_INFO": path.removeprefix(prefix),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "REMOTE_ADDR": client[0],
        "REMOTE_PORT": str(client[1]),
        "wsgi.errors": sys.stderr,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input": body.file() if body.size else io.BytesIO(),
        "wsgi.input_terminated": True,
        "wsgi.multiprocess": True,
        "wsgi.multithread": is_threaded,
        "wsgi.run_once": False,
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.version": (1, 0),
    }
    if scope["scheme"] == "https":
        environ["HTTPS"] = "on"
    _add_headers(environ, scope["headers"])
    if body.size:
        environ["CONTENT_LENGTH"] = str(body.size)
        environ.pop("HTTP_TRANSFER_ENCODING", None)
    return environ


def _add_headers(environ: dict[str, Any], fields: Iterable[tuple[bytes, bytes]]) -> None:
    for name, value in fields:
        key = name.decode("latin-1").upper()
        if "_" in key:
            continue  # it would pose as the one with a hyphen
        key = key.replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        text = value.decode("latin-1")
        if key in environ:
            text = environ[key] + ("; " if key == "HTTP_COOKIE" else ",") + text
        environ[key] = text
