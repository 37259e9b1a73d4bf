"""One request's head, and the rules of RFC 9110 and 9112 for it that llhttp does not look at.

Pure: fields in, a Request or a Refusal out.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from supervisor.workers.web.http1.memo import Memo

if TYPE_CHECKING:
    from supervisor.workers.web.http1.known import Block, Line

Fields = list[tuple[bytes, bytes]]

MOST_FIELDS = 100
# RFC 3986, 3.2.2, and a port: digits or none. RFC 9110, 4.2.1: an empty host is invalid.
_HOST = re.compile(
    rb"(\[[0-9A-Fa-f:.]+\]|\[v[0-9A-Fa-f]+\.[A-Za-z0-9\-._~!$&'()*+,;=:]+\]"
    rb"|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+)(?::([0-9]*))?"
)
_ABSOLUTE = re.compile(rb"(https?)://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
# Of a byte in bytes it is the number that is looked up fast.
_SLASH, _HASH = b"/#"
_METHODS: Memo[bytes, str] = Memo(partial(str, encoding="ascii"), 64)
_DEFAULT_PORTS = {b"http": b"80", b"https": b"443"}


class Limits(NamedTuple):
    """Sizes in bytes: of a head, and of trailers; of a body (0 = any)."""

    header: int = 65_536
    body: int = 0


class Refusal(NamedTuple):
    """Why a request is not served: the status of the answer, and the reason for the log."""

    status: int
    reason: str


class Request:
    """The head of a request, filled by `judge`, for a constructor costs as much as all its fields.

    `name` is the request line up to the query, `target` is in origin form (or `*`), `raw_target` as
    it was sent; `named` has the last value of each field. `length` is that of the body, None where
    it is chunked; `upgrade` the value of the field where one is asked for, in lower case, else b"".
    `line` and `block` are the halves of a head that was seen before (`known`), else None; then
    `fields` and `named` are shared with other requests, and nobody changes them.
    """

    __slots__ = (
        "block",
        "complete",
        "fields",
        "is_http11",
        "keep_alive",
        "length",
        "line",
        "method",
        "name",
        "named",
        "raw_target",
        "target",
        "upgrade",
        "waits_for_100",
    )

    name: bytes
    method: str
    target: bytes
    raw_target: bytes
    fields: Fields
    named: dict[bytes, bytes]
    is_http11: bool
    keep_alive: bool
    complete: bool
    length: int | None
    upgrade: bytes
    waits_for_100: bool
    line: Line | None
    block: Block | None


def judge(
    line: bytes, fields: Fields, named: dict[bytes, bytes], limits: Limits
) -> Request | Refusal:
    """Return the request of a head that llhttp has accepted, or the reason to refuse it."""
    words = line.split(b" ")
    if len(words) != 3:
        return Refusal(400, "no request")
    method, target, version = words
    is_http11 = version == b"HTTP/1.1"
    if not is_http11 and version != b"HTTP/1.0":
        return _other_version(version)
    if len(fields) > MOST_FIELDS:
        return Refusal(431, f"more than {MOST_FIELDS} fields")
    request = Request()
    request.name = method + b" " + target.partition(b"?")[0]
    request.method = _METHODS[method]
    request.raw_target = request.target = target
    request.fields = fields
    request.named = named
    request.is_http11 = is_http11
    request.keep_alive = request.complete = True
    request.length = 0
    request.upgrade = b""
    request.waits_for_100 = False
    request.line = request.block = None
    host, refusal = named.get(b"host"), None
    if not _HOSTS[host] or len(named) != len(fields):
        refusal = _wrong_host(request, host)
    if target[0] != _SLASH or _HASH in target:
        refusal = refusal or _wrong_target(request, host)
    if b"content-length" in named or b"transfer-encoding" in named or b"expect" in named:
        refusal = refusal or _wrong_body(request, limits)
    return refusal or request


def _other_version(version: bytes) -> Refusal:
    if _VERSION.fullmatch(version) and not version.startswith(b"HTTP/0"):
        return Refusal(505, "HTTP versions other than 1.0 and 1.1 are not spoken here")
    return Refusal(400, "no such version of HTTP")


def is_host(host: bytes | None) -> bool:
    """RFC 9110, 7.2."""
    return host is not None and _HOST.fullmatch(host) is not None


_HOSTS: Memo[bytes | None, bool] = Memo(is_host, 256)


def _wrong_host(request: Request, host: bytes | None) -> Refusal | None:
    """RFC 9112, 3.2: one Host, in HTTP/1.0 at most one."""
    count = sum(name == b"host" for name, _ in request.fields)
    if count > 1:
        return Refusal(400, "more than one Host")
    if count == 0:
        return Refusal(400, "no Host") if request.is_http11 else None
    return None if is_host(host) else Refusal(400, "Host is not a host and a port")


def _wrong_target(request: Request, host: bytes | None) -> Refusal | None:
    """RFC 9112, 3.2: what is not a plain path. The absolute form becomes the origin form."""
    if request.method == "CONNECT":
        return Refusal(501, "CONNECT is not served")
    if request.target == b"*":
        is_options = request.method == "OPTIONS"
        return None if is_options else Refusal(400, "the target * is for OPTIONS")
    found = _ABSOLUTE.fullmatch(request.target)
    if _HASH in request.target or not found:
        return Refusal(400, "the target is no path")
    scheme, authority, rest = found.groups()
    if not is_host(authority):
        return Refusal(400, "the target has no valid host")
    if host is not None and _canonical(authority, scheme) != _canonical(host, scheme):
        return Refusal(400, "the target is of another host than Host")
    request.target = _origin_form(request.method, rest)
    return None


def _canonical(authority: bytes, scheme: bytes) -> tuple[bytes, bytes]:
    """Host and port to compare: without case, a default port being none."""
    found = _HOST.fullmatch(authority)
    host, port = found.groups() if found else (authority, None)
    default = _DEFAULT_PORTS[scheme.lower()]
    return host.lower(), (port or default).lstrip(b"0")


def _origin_form(method: str, rest: bytes) -> bytes:
    """RFC 9112, 3.2.4: OPTIONS of a whole server is `*`."""
    if not rest:
        return b"*" if method == "OPTIONS" else b"/"
    return rest if rest[:1] == b"/" else b"/" + rest


def _wrong_body(request: Request, limits: Limits) -> Refusal | None:
    """Note how the body ends, and refuse one that is coded or too long."""
    named = request.named
    if b"expect" in named:
        request.waits_for_100 = request.is_http11 and named[b"expect"].lower() == b"100-continue"
    if b"transfer-encoding" in named:
        request.length, request.complete = None, False
        return _wrong_coding(request)
    if b"content-length" in named:
        request.length = int(named[b"content-length"])
        request.complete = not request.length
        if limits.body and request.length > limits.body:
            return Refusal(413, f"a body of {request.length} bytes")
    return None


def _wrong_coding(request: Request) -> Refusal | None:
    """RFC 9112, 6.1: chunked alone, and not in HTTP/1.0, whose framing it makes faulty."""
    codings = [value.lower() for name, value in request.fields if name == b"transfer-encoding"]
    if not request.is_http11:
        return Refusal(400, "Transfer-Encoding in HTTP/1.0")
    return None if codings == [b"chunked"] else Refusal(501, "a transfer coding but chunked")
