"""The scope of a request: what its head says, and what trusted proxies say of its origin."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from supervisor.workers.web.forwarded import Origin, Trust, joined, origin
from supervisor.workers.web.http1 import Block, Line, Request
from supervisor.workers.web.http1.memo import Memo

if TYPE_CHECKING:
    from supervisor.workers.web.asgi.service import Service

_WEBSOCKET_EXTENSIONS: Final[dict[str, dict[str, Any]]] = {"websocket.http.response": {}}


def scope_of(service: Service, base: dict[str, Any], request: Request) -> dict[str, Any]:
    """The scope of a request on a connection whose own facts are `base`, which has all keys: a
    copy of it does not grow.
    """
    line, block = request.line, request.block
    scope = base | (_OF_HALVES[line, block] if line and block else _of_head(request, request))
    scope["headers"] = request.fields.copy()  # an application may change its own
    scope["state"] = service.state.copy()
    if service.has_origins:
        apply_origin(scope, request.fields, service.trust, service.options.root_path)
    return scope


def _of_head(line: Line | Request, block: Block | Request) -> dict[str, Any]:
    """The part of the scope that target and version give."""
    raw, _, query = line.target.partition(b"?")
    is_plain = b"%" not in raw and raw.isascii()
    return {
        "http_version": "1.1" if block.is_http11 else "1.0",
        "method": line.method,
        "path": raw.decode("ascii") if is_plain else unquote(raw.decode("utf-8", "replace")),
        "raw_path": raw,
        "query_string": query,
    }


def _of_halves(halves: tuple[Line, Block]) -> dict[str, Any]:
    return _of_head(*halves)


# As many as there are halves of heads that were seen before: they are clients' to invent.
_OF_HALVES: Memo[tuple[Line, Block], dict[str, Any]] = Memo(_of_halves, 256)


def websocket_scope(service: Service, base: dict[str, Any], request: Request) -> dict[str, Any]:
    """The scope of a WebSocket."""
    scope = scope_of(service, base, request)
    del scope["method"]
    scope["type"] = "websocket"
    scope["scheme"] = "wss" if scope["scheme"] == "https" else "ws"
    scope["extensions"] = _WEBSOCKET_EXTENSIONS
    wished = request.named.get(b"sec-websocket-protocol", b"").decode("latin-1").split(",")
    scope["subprotocols"] = [name for one in wished if (name := one.strip())]
    return scope


def identity_of(service: Service, base: dict[str, Any], request: Request) -> bytes:
    """The request id: a trusted proxy's, else a new one; it becomes a header of the request."""
    peer = base["client"]
    given = request.named.get(service.request_id, b"")
    if not (given and service.trust.trusts(peer[0] if peer else "")):
        given = secrets.token_hex(16).encode()
        others = [field for field in request.fields if field[0] != service.request_id]
        request.fields = [*others, (service.request_id, given)]
    return given


def apply_origin(
    scope: dict[str, Any], fields: list[tuple[bytes, bytes]], trust: Trust, prefix: str
) -> None:
    """Set what trusted proxies say of the client, and the prefix of the path."""
    peer = scope["client"]
    if trust:
        host, port = peer or ("", 0)
        came = origin(host, port, scope["scheme"], joined(fields), trust)
        scope["client"] = (came.client, came.port) if came.client else peer
        scope["scheme"] = came.scheme
        prefix = came.prefix + prefix
        _apply_host(scope, came)
    if prefix:
        scope["root_path"] = prefix
        scope["path"] = prefix + scope["path"]
        scope["raw_path"] = prefix.encode() + scope["raw_path"]


def _apply_host(scope: dict[str, Any], came: Origin) -> None:
    """The host of the URL, as the client wrote it."""
    if came.host:
        has_port = ":" in came.host.rpartition("]")[2]
        port = f":{came.host_port}" if came.host_port and not has_port else ""
        others = [field for field in scope["headers"] if field[0] != b"host"]
        scope["headers"] = [(b"host", f"{came.host}{port}".encode()), *others]
