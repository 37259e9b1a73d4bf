"""Static files in front of an ASGI application: the option `static`."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from supervisor.workers.web.http1 import phrase
from supervisor.workers.web.static_files import Answer, Files, Mounts

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

_ZERO_COPY: Final = "http.response.zerocopysend"
_PIECE: Final = 1 << 18  # bytes, where the server cannot send a file itself


def mounted(static: Mapping[str, str], application: Application) -> Application:
    """The application, with directories by path prefix in front of it."""
    mounts = Mounts(static)

    async def choose(scope: Message, receive: Receive, send: Send) -> None:
        found = mounts.find(_path(scope)) if scope["type"] == "http" else None
        if found is None:
            await application(scope, receive, send)
        else:
            await _serve(*found, scope, send)

    return choose if static else application


def _path(scope: Message) -> bytes:
    """The path as the client wrote it: without the prefix that `root_path` put before it."""
    path: bytes = scope["raw_path"]
    return path.removeprefix(scope["root_path"].encode())


async def _serve(files: Files, name: bytes, scope: Message, send: Send) -> None:
    answer = files.answer(scope["method"], name, dict(scope["headers"]))
    if answer.descriptor >= 0:
        with open(answer.descriptor, "rb", buffering=0) as file:
            await _begin(send, answer.status, [*answer.fields, _length(answer.length)])
            await _send_file(scope, send, file, answer)
        return
    body, fields = b"", answer.fields
    if answer.status != 304:
        body = b"%d %b\n" % (answer.status, phrase(answer.status))
        fields = [*fields, (b"Content-Type", b"text/plain; charset=utf-8"), _length(len(body))]
    await _begin(send, answer.status, fields)
    await send({"type": "http.response.body", "body": body})


def _length(size: int) -> tuple[bytes, bytes]:
    return b"Content-Length", b"%d" % size


async def _begin(send: Send, status: int, fields: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": fields})


async def _send_file(scope: Message, send: Send, file: Any, answer: Answer) -> None:
    at, end = answer.at, answer.at + answer.length
    if _ZERO_COPY in scope.get("extensions", ()):
        await send({"type": _ZERO_COPY, "file": file, "offset": at, "count": answer.length})
        return
    while at < end and scope["method"] != "HEAD":
        piece = os.pread(file.fileno(), min(_PIECE, end - at), at)
        if not piece:
            raise OSError("the file has become shorter")
        at += len(piece)
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
