"""One small HTTP exchange, strictly: from the bytes of a request's head to the bytes of the answer.

The standard library's parser reads the head; what it lets pass and a careful server should not is
refused here. Knows no socket.
"""

from __future__ import annotations

import http.server
import io
import ipaddress
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, NamedTuple

LONGEST_LINE: Final = 8_192  # bytes, of the request line
LONGEST_HEAD: Final = 16_384  # bytes

_METHODS: Final = ("GET", "HEAD")
_FIELD: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\0\r\n]*")  # RFC 9110, section 5
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Connection": "close",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Answer(NamedTuple):
    """What is sent back."""

    status: HTTPStatus
    content_type: str
    body: bytes


# From the path and the Accept header to an answer, None for a path that leads nowhere.
Route = Callable[[str, str], Answer | None]


def text(status: HTTPStatus, words: str) -> Answer:
    """An answer of one line."""
    return Answer(status, "text/plain; charset=utf-8", words.encode() + b"\n")


def is_whole(head: bytes | bytearray) -> bool:
    """True once the empty line that ends a head has come."""
    return b"\r\n\r\n" in head or b"\n\n" in head


def too_long(head: bytes | bytearray) -> HTTPStatus | None:
    """The status that refuses a head for its size, also one that has not come to its end."""
    line_end = head.find(b"\n")
    if (line_end if line_end >= 0 else len(head)) > LONGEST_LINE:
        return HTTPStatus.REQUEST_URI_TOO_LONG
    if len(head) > LONGEST_HEAD:
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    return None


def refusal(status: HTTPStatus) -> bytes:
    """The bytes that refuse what cannot be parsed."""
    return _Exchange(b"", None, names_only_us=False).refuse(status)


def reply(head: bytes, route: Route, *, names_only_us: bool) -> bytes:
    """The bytes that answer a whole head.

    With `names_only_us` a Host other than localhost or an IP address is refused: the listener is
    on loopback, and a foreign page must not reach it by a name that it points there (DNS
    rebinding).
    """
    return _Exchange(head, route, names_only_us=names_only_us).reply()


class _Exchange(http.server.BaseHTTPRequestHandler):
    """The library's request handler between two buffers; its constructor wants a socket, so it is
    not called.
    """

    protocol_version = "HTTP/1.1"
    server_version = "supervisor"
    sys_version = ""

    def __init__(self, head: bytes, route: Route | None, *, names_only_us: bool) -> None:
        self.rfile = io.BufferedReader(io.BytesIO(head))
        self.wfile = io.BytesIO()
        self.client_address = ("", 0)
        self.command = ""
        self.requestline = ""
        self.request_version = self.protocol_version
        self._head = head
        self._route = route
        self._names_only_us = names_only_us

    def reply(self) -> bytes:
        """The answer of the route, or a refusal."""
        self.raw_requestline = self.rfile.readline(LONGEST_LINE + 1)
        if not self.parse_request():
            # Only an empty request line is turned down without a word.
            return self._written() or self.refuse(HTTPStatus.BAD_REQUEST)
        status = self._fault()
        if status is not None:
            return self.refuse(status)
        path, accept = self.path.partition("?")[0], self.headers.get("Accept", "")
        answer = self._route(path, accept) if self._route else None
        return self._send(answer or text(HTTPStatus.NOT_FOUND, "Not Found"))

    def refuse(self, status: HTTPStatus) -> bytes:
        """One line that says what is wrong."""
        self.request_version = "HTTP/1.0"  # one of 0.9 would go without a status
        return self._send(text(status, status.phrase))

    def _fault(self) -> HTTPStatus | None:
        """The status that refuses a head which the parser let pass, None for a good one."""
        lines = self._head.replace(b"\r\n", b"\n").split(b"\n\n", 1)[0].split(b"\n")
        hosts = self.headers.get_all("Host", [])
        if self.request_version == "HTTP/0.9" or not self.path.startswith("/"):
            return HTTPStatus.BAD_REQUEST
        if any(_FIELD.fullmatch(line) is None for line in lines[1:]) or len(hosts) > 1:
            return HTTPStatus.BAD_REQUEST
        if not hosts and self.request_version != "HTTP/1.0":
            return HTTPStatus.BAD_REQUEST
        if hosts and self._names_only_us and not _names_us(hosts[0]):
            return HTTPStatus.MISDIRECTED_REQUEST
        if self.command not in _METHODS:
            return HTTPStatus.METHOD_NOT_ALLOWED
        if "Transfer-Encoding" in self.headers or self.headers.get("Content-Length", "0") != "0":
            return HTTPStatus.BAD_REQUEST
        return None

    def _send(self, answer: Answer) -> bytes:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", ", ".join(_METHODS))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
        return self._written()

    def _written(self) -> bytes:
        written: bytes = self.wfile.getvalue()  # type: ignore[attr-defined]
        return written

    def send_error(self, code: int, message: str | None = None, explain: Any = None) -> None:
        """What the parser refuses: always the client's mistake, an unknown version too."""
        status = HTTPStatus(code)
        self.refuse(status if status < HTTPStatus.INTERNAL_SERVER_ERROR else HTTPStatus.BAD_REQUEST)

    def handle_expect_100(self) -> bool:
        """No body is wanted: the answer itself is the expectation's end."""
        return True

    def log_message(self, format: str, *arguments: Any) -> None:
        """The worker counts requests; a log line for each is not wanted."""


def _names_us(host: str) -> bool:
    """True for localhost and for an IP address, with or without a port."""
    name = host.strip().lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
