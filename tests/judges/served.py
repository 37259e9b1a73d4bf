"""The applications that are judged. Peers serve the same."""

import hashlib
from wsgiref.validate import validator

import echoes

validated = validator(echoes.wsgi)


async def asgi(scope, receive, send):
    """WebSocket messages come back; a POST is answered with its digest, a GET with parts."""
    if scope["type"] == "websocket":
        await echo(receive, send)
    elif scope["type"] == "http" and scope["path"] == "/digest":
        await digest(receive, send)
    elif scope["type"] == "http" and scope["path"] == "/parts":
        await parts(send)
    else:
        await echoes.asgi(scope, receive, send)


async def echo(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        said = {key: message[key] for key in ("bytes", "text") if message.get(key) is not None}
        await send({"type": "websocket.send", **said})


async def digest(receive, send):
    size, found, more = 0, hashlib.sha256(), True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        found.update(message.get("body", b""))
        more = message.get("more_body", False)
    await answer(send, f"{size} {found.hexdigest()}".encode())


async def answer(send, body):
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def parts(send):
    """Without a length: the server frames it."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(100):
        await send({"type": "http.response.body", "body": b"x" * 10_000, "more_body": True})
    await send({"type": "http.response.body"})


def wsgi(environ, start_response):
    """The same for wsgi, without WebSockets."""
    if environ["PATH_INFO"] == "/parts":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (b"x" * 10_000 for _ in range(100))
    if environ["PATH_INFO"] != "/digest":
        return echoes.wsgi(environ, start_response)
    size, found = 0, hashlib.sha256()
    while data := environ["wsgi.input"].read(65536):
        size, _ = size + len(data), found.update(data)
    said = f"{size} {found.hexdigest()}".encode()
    start_response("200 OK", [("Content-Length", str(len(said)))])
    return [said]
