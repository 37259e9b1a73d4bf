"""The access log of the web types: one line a request, written by one write(2)."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from supervisor.child.child import Child
from supervisor.log.entries import say_error
from supervisor.log.file import LogFile, write_all
from supervisor.log.forms import escaped_field
from supervisor.system.clock import wall_clock
from supervisor.workers.web.application import ApplicationOptions

_STDOUT = 1


class Begun(NamedTuple):
    """When a request began: ns since 1970, monotonic ns."""

    at: int
    since: int


class Served(NamedTuple):
    """A request as it is logged. `target` as the client sent it; `size` is the body's, in bytes;
    `fields` has the header fields by their names in lower case.
    """

    client: str
    method: str
    target: str
    protocol: str
    status: int
    size: int
    fields: Mapping[bytes, bytes]
    request_id: str = ""


def log(options: ApplicationOptions, child: Child) -> Log | None:
    """The child's access log, None when it is off. Raises OSError when it cannot be opened."""
    if options.access_log == "off":
        return None
    return Log(options, child.place.section, child.slot)


class Log:
    """Appends to a file and follows its rename, or to standard output."""

    def __init__(self, options: ApplicationOptions, worker: str, slot: int) -> None:
        path = options.access_log_file
        self._file = LogFile(path, say_error) if path else None
        self._form = options.access_log
        self._skip = frozenset(options.access_log_skip)
        self._headers = tuple(name.lower() for name in options.access_log_headers)
        self._child = {"worker": worker, "slot": slot, "pid": os.getpid()}

    def begin(self) -> Begun:
        """Note the instant at which a request begins."""
        return Begun(wall_clock(), time.monotonic_ns())

    def end(self, begun: Begun, served: Served) -> None:
        """Write the line of a request that has ended."""
        self.write(begun.at / 1e9, (time.monotonic_ns() - begun.since) / 1e9, served)

    def write(self, at: float, seconds: float, served: Served) -> None:
        """Write the line of a request that began at `at` (s since 1970) and took so many seconds.
        An answer to a path of `access_log_skip` is left out, unless it is an error.
        """
        if self._skip and served.status < 400 and _path(served) in self._skip:
            return
        if self._form == "json":
            line = self._json_line(at, seconds, served)
        else:
            line = _common_line(at, served, is_combined=self._form == "combined")
        self._put(line.encode("utf-8", "backslashreplace"))

    def _json_line(self, at: float, seconds: float, served: Served) -> str:
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))
        fields = served.fields
        facts = {
            "time": f"{second}.{int(at % 1 * 1000):03d}Z",
            "client": served.client,
            "method": served.method,
            "target": served.target,
            "protocol": served.protocol,
            "status": served.status,
            "size": served.size,
            "seconds": seconds,
            **self._child,
            "request_id": served.request_id,
            "headers": {
                name: fields[name.encode()].decode("latin-1")
                for name in self._headers
                if name.encode() in fields
            },
        }
        return json.dumps(facts) + "\n"

    def _put(self, data: bytes) -> None:
        if self._file is not None:
            self._file.write(data)
        else:
            with contextlib.suppress(OSError):  # its reader is gone: no reason to fail the request
                write_all(_STDOUT, data)


def of_asgi(scope: Mapping[str, Any], status: int, size: int) -> Served:
    """A request as its ASGI scope tells it."""
    query = scope["query_string"]
    target = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
    return Served(
        client=scope["client"][0] if scope.get("client") else "",
        method=scope.get("method", "GET"),
        target=(target + b"?" + query if query else target).decode("latin-1"),
        protocol=f"HTTP/{scope['http_version']}",
        status=status,
        size=size,
        fields=dict(scope["headers"]),
    )


def _path(served: Served) -> str:
    return served.target.partition("?")[0]


@lru_cache(2)
def _instant(second: int) -> str:
    return time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(second))


def _common_line(at: float, served: Served, *, is_combined: bool) -> str:
    """The Common Log Format of the NCSA, in UTC; combined adds Referer and User-Agent."""
    # json.dumps escapes quotes and control characters: nobody may forge a line.
    request = json.dumps(f"{served.method} {served.target} {served.protocol}")
    begin = f"{escaped_field(served.client) or '-'} - - [{_instant(int(at))}] {request}"
    end = f"{served.status} {served.size or '-'}"
    if not is_combined:
        return f"{begin} {end}\n"
    return f"{begin} {end} {_field(served, b'referer')} {_field(served, b'user-agent')}\n"


def _field(served: Served, name: bytes) -> str:
    return json.dumps(served.fields.get(name, b"-").decode("latin-1"))
