"""Static files on a child's own loop: type `http`, and the option `static` of `wsgi`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial

from supervisor.workers.web.calls import Call, MakeCall, Service
from supervisor.workers.web.client import Client, FileRange
from supervisor.workers.web.http1 import Request, head_of, phrase
from supervisor.workers.web.static_files import Answer, Files, Mounts


class FileCall(Call):
    """The answer of a file."""

    __slots__ = ("_files", "_name")

    def __init__(
        self, service: Service, client: Client, request: Request, files: Files, name: bytes
    ) -> None:
        super().__init__(service, client, request)
        self._files = files
        self._name = name

    def respond(self) -> bytes:
        answer = self._files.answer(self.request.method, self._name, self.request.named)
        if answer.descriptor >= 0:
            return self._open(answer)
        if answer.status == 304:
            return self.whole(head_of(304, answer.fields), b"")
        body = b"%d %b\n" % (answer.status, phrase(answer.status))
        fields = [*answer.fields, (b"Content-Type", b"text/plain; charset=utf-8")]
        return self.whole(head_of(answer.status, fields), body)

    def _open(self, answer: Answer) -> bytes:
        http, length = self.client.http, answer.length
        self.closing = partial(os.close, answer.descriptor)
        answer.fields.append((b"Content-Length", b"%d" % length))
        head = self.head(head_of(answer.status, answer.fields))
        if http.count(length) is None or not length:
            return head + http.end()
        self.size = length
        self.file = FileRange(answer.descriptor, answer.at, length)
        self.more = True  # the file stays open until it is sent
        return head

    def step(self) -> bytes:
        self.file = None
        self.more = False
        return self.client.http.end()


def mounted(service: Service, static: Mapping[str, str], call: MakeCall) -> MakeCall:
    """The call of an application, with directories by path prefix in front of it."""
    mounts = Mounts(static)

    def choose(client: Client, request: Request) -> Call:
        found = mounts.find(request.target.partition(b"?")[0])
        if found is None:
            return call(client, request)
        return FileCall(service, client, request, *found)

    return choose if static else call
