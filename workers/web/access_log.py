"""The access log of the application types: one line a request, written by one write(2)."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
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
    """What is logged of a request. `size` is the body's, in bytes."""

    client: str
    method: str
    path: str
    query: str
    protocol: str
    status: int
    size: int
    referer: str = ""
    agent: str = ""


def log(options: ApplicationOptions, child: Child) -> Log | None:
    """The child's access log, None when it is off. Raises OSError when it cannot be opened."""
    if options.access_log == "off":
        return None
    return Log(options.access_log_file, options.access_log == "json", child.slot)


class Log:
    """Appends to a file and follows its rename, or to standard output."""

    def __init__(self, path: str, is_json: bool, slot: int) -> None:
        self._file = LogFile(path, say_error) if path else None
        self._is_json = is_json
        self._slot = slot

    def begin(self) -> Begun:
        """Note the instant at which a request begins."""
        return Begun(wall_clock(), time.monotonic_ns())

    def end(self, begun: Begun, served: Served) -> None:
        """Write the line of a request that has ended."""
        seconds = (time.monotonic_ns() - begun.since) / 1e9
        form = _json_line if self._is_json else _common_line
        line = form(begun.at / 1e9, seconds, self._slot, served)
        data = line.encode("utf-8", "backslashreplace")
        if self._file is not None:
            self._file.write(data)
        else:
            with contextlib.suppress(OSError):  # who read it is gone: no reason to fail the request
                write_all(_STDOUT, data)


def of_asgi(scope: Mapping[str, Any], status: int, size: int) -> Served:
    """What an ASGI scope tells of its request."""
    headers = dict(scope["headers"])
    return Served(
        client=scope["client"][0] if scope.get("client") else "",
        method=scope.get("method", "GET"),
        path=scope["path"],
        query=scope["query_string"].decode("latin-1"),
        protocol=f"HTTP/{scope['http_version']}",
        status=status,
        size=size,
        referer=headers.get(b"referer", b"").decode("latin-1"),
        agent=headers.get(b"user-agent", b"").decode("latin-1"),
    )


def of_wsgi(environ: Mapping[str, Any], status: int, size: int) -> Served:
    """What a WSGI environment tells of its request."""
    return Served(
        client=environ["REMOTE_ADDR"],
        method=environ["REQUEST_METHOD"],
        path=environ["PATH_INFO"],
        query=environ["QUERY_STRING"],
        protocol=environ["SERVER_PROTOCOL"],
        status=status,
        size=size,
        referer=environ.get("HTTP_REFERER", ""),
        agent=environ.get("HTTP_USER_AGENT", ""),
    )


def _common_line(at: float, _seconds: float, _slot: int, served: Served) -> str:
    """The Common Log Format of the NCSA and Apache servers, in UTC."""
    instant = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(at))
    query = f"?{served.query}" if served.query else ""
    # json.dumps escapes quotes and control characters: nobody may forge a line.
    request = json.dumps(f"{served.method} {served.path}{query} {served.protocol}")
    end = f"{served.status} {served.size or '-'}\n"
    return f"{escaped_field(served.client) or '-'} - - [{instant}] {request} {end}"


def _json_line(at: float, seconds: float, slot: int, served: Served) -> str:
    instant = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1000):03d}Z"
    facts = {"time": instant, **served._asdict(), "seconds": seconds, "slot": slot}
    return json.dumps(facts) + "\n"
