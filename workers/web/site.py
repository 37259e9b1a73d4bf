"""Static files on a child's own loop: type `http`, and the option `static` of `wsgi`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from supervisor.workers.web.calls import Call, Service
from supervisor.workers.web.client import Client, FileRange
from supervisor.workers.web.http1 import Request, phrase
from supervisor.workers.web.static_files import Files, Mounts

MakeCall = Callable[[Client, Request], Call]


class FileCall(Call):
    """The answer of a file."""

    __slots__ = ("_descriptor", "_files", "_name")

    def __init__(
        self, service: Service, client: Client, request: Request, files: Files, name: bytes
    ) -> None:
        super().__init__(service, client, request)
        self._files = files
        self._name = name
        self._descriptor = -1

    def respond(self) -> bytes:
        answer = self._files.answer(self.request.method, self._name, self.request.named)
        self._descriptor = answer.descriptor
        if answer.descriptor >= 0:
            return self._open(answer.status, answer.fields, answer.at, answer.length)
        if answer.status == 304:
            return self.whole(self.head(304, answer.fields), b"")
        body = b"%d %b\n" % (answer.status, phrase(answer.status))
        fields = [*answer.fields, (b"Content-Type", b"text/plain; charset=utf-8")]
        return self.whole(self.head(answer.status, fields, length=len(body)), body)

    def _open(self, status: int, fields: list[tuple[bytes, bytes]], at: int, length: int) -> bytes:
        http = self.client.http
        fields.append((b"Content-Length", b"%d" % length))
        head = self.head(status, fields)
        if http.count(length) is None or not length:
            return head + http.end()
        self.size = length
        self.file = FileRange(self._descriptor, at, length)
        self.more = True  # the file stays open until it is sent
        return head

    def step(self) -> bytes:
        self.file = None
        self.more = False
        return self.client.http.end()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def mounted(service: Service, static: Mapping[str, str], call: MakeCall) -> MakeCall:
    """The call of an application, with directories by path prefix in front of it."""
    mounts = Mounts(static)

    def choose(client: Client, request: Request) -> Call:
        found = mounts.find(request.target.partition(b"?")[0])
        if found is None:
            return call(client, request)
        return FileCall(service, client, request, *found)

    return choose if static else call
