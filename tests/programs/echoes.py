"""Applications of the three interfaces that answer with what they saw of the request."""

import hashlib
import json

from applications import lifespan
from granian.rsgi import ProtocolClosed

LONG = 200  # bytes of a target or body that are shown; of a longer one the digest


def brief(data):
    if len(data) > LONG:
        return f"{len(data)} bytes {hashlib.sha256(data).hexdigest()[:16]}"
    return data.decode("latin-1")


def report(method, path, query, body, headers):
    target = path + b"?" + query if query else path
    seen = f"{method} {brief(target)} {brief(body)}"
    return json.dumps({"seen": seen, "headers": sorted(headers)}).encode()


def wsgi(environ, start_response):
    headers = [
        (name, value)
        for name, value in environ.items()
        if name.startswith("HTTP_") or name.startswith("CONTENT_")
    ]
    path, query = environ["PATH_INFO"].encode("latin-1"), environ["QUERY_STRING"].encode("latin-1")
    body = b"".join(iter(lambda: environ["wsgi.input"].read(65536), b""))
    said = report(environ["REQUEST_METHOD"], path, query, body, headers)
    length = ("Content-Length", str(len(said)))
    start_response("200 OK", [("Content-Type", "application/json"), length])
    return [said]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message.get("body", b""), message.get("more_body", False)
    headers = [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
    ]
    path = scope["path"].encode("utf-8", "surrogateescape")
    said = report(scope["method"], path, scope["query_string"], body, headers)
    length = [(b"content-length", b"%d" % len(said))]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": said})


async def rsgi(scope, protocol):
    try:
        body = await protocol()
    except ProtocolClosed:
        return
    path, query = scope.path.encode(), scope.query_string.encode()
    said = report(scope.method, path, query, body, list(scope.headers.items()))
    protocol.response_bytes(200, [("content-length", str(len(said)))], said)
