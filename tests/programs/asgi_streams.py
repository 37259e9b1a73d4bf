"""An ASGI application whose paths wait, stream and fail in the ways that a server must bear."""

import asyncio
import json
import sys


def say(text):
    print(text, file=sys.stderr, flush=True)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    else:
        path = scope["path"].removeprefix(scope["root_path"])
        await PATHS.get(path, hello)(scope, receive, send)


async def lifespan(scope, receive, send):
    await receive()
    scope["state"]["born"] = "state"
    await send({"type": "lifespan.startup.complete"})
    await receive()
    say("lifespan is over")
    await send({"type": "lifespan.shutdown.complete"})


async def start(send, *headers, status=200):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def part(send, body, more=True):
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def hello(scope, receive, send):
    await start(send, (b"content-type", b"text/plain"))
    await part(send, b"hello", more=False)


async def facts(scope, receive, send):
    """Tell the scope, and what comes first."""
    message = await receive()
    told = {
        "client": scope["client"][0],
        "scheme": scope["scheme"],
        "path": scope["path"],
        "raw_path": scope["raw_path"].decode(),
        "root_path": scope["root_path"],
        "query": scope["query_string"].decode(),
        "version": scope["http_version"],
        "state": scope["state"],
        "extensions": sorted(scope["extensions"]),
        "headers": {name.decode(): value.decode() for name, value in scope["headers"]},
        "body": message["body"].decode(),
        "more": message["more_body"],
    }
    await start(send)
    await part(send, json.dumps(told).encode(), more=False)


async def events(scope, receive, send):
    """Stream until told that the client is gone, or the server ends."""
    await start(send, (b"content-type", b"text/event-stream"))
    await part(send, b"data: 1\n\n")
    say("stream begun")
    while (await receive())["type"] != "http.disconnect":
        pass
    say("stream told")
    await part(send, b"data: last\n\n", more=False)


async def deaf(scope, receive, send):
    """Stream, and listen to nobody."""
    await start(send)
    await part(send, b"one")
    say("stream begun")
    try:
        await asyncio.sleep(1000)
    finally:
        say("stream cancelled")


async def sleeper(scope, receive, send):
    say("request begun")
    await asyncio.sleep(1000)


async def stubborn(scope, receive, send):
    """Goes on after it was cancelled."""
    try:
        await asyncio.sleep(1000)
    except asyncio.CancelledError:
        await hello(scope, receive, send)


async def slowly(scope, receive, send):
    await asyncio.sleep(0.4)
    await hello(scope, receive, send)


async def upload(scope, receive, send):
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            say("upload broken off")
            return
        size, more = size + len(message["body"]), message["more_body"]
    await start(send)
    await part(send, b"%d" % size, more=False)


async def ignores(scope, receive, send):
    """Answers without reading the body."""
    await hello(scope, receive, send)


async def download(scope, receive, send):
    """50 MB, as fast as they are taken."""
    await start(send)
    say("download begun")
    for _ in range(50):
        await part(send, bytes(1_000_000))
    await part(send, b"", more=False)
    say("download sent")


async def file(scope, receive, send):
    path = scope["query_string"].decode()
    await start(send, (b"content-type", b"text/plain"))
    await send({"type": "http.response.pathsend", "path": path})


async def pieces(scope, receive, send):
    """Three pieces of a file, its digits among them, by the kernel."""
    await start(send, (b"content-type", b"text/plain"))
    with open(scope["query_string"].decode(), "rb") as one:
        piece = {"type": "http.response.zerocopysend", "file": one}
        await send({**piece, "offset": 2, "count": 3, "more_body": True})
        one.seek(7)
        await send({**piece, "count": 1, "more_body": True})
        await part(send, b"-", more=True)
        await send({**piece, "offset": 8})


async def hints(scope, receive, send):
    await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
    await hello(scope, receive, send)


async def injects(scope, receive, send):
    await start(send, (b"x-a", b"b\r\nset-cookie: c"))
    await part(send, b"hello", more=False)


async def too_long(scope, receive, send):
    await start(send, (b"content-length", b"3"))
    await part(send, b"hello", more=False)


async def too_short(scope, receive, send):
    await start(send, (b"content-length", b"9"))
    await part(send, b"hello")
    await part(send, b"", more=False)


async def nothing(scope, receive, send):
    """Returns without an answer."""


async def twice(scope, receive, send):
    await hello(scope, receive, send)
    await hello(scope, receive, send)


async def background(scope, receive, send):
    await hello(scope, receive, send)
    await asyncio.sleep(0.3)
    say("background done")


async def websocket(scope, receive, send):
    await receive()
    if scope["path"] == "/no":
        await send({"type": "websocket.close"})
        return
    if scope["path"] == "/denied":
        headers = [(b"x-why", b"because")]
        await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b"not you"})
        return
    chosen = scope["subprotocols"][0] if scope["subprotocols"] else None
    headers = [(b"x-path", scope["raw_path"])]
    await send({"type": "websocket.accept", "subprotocol": chosen, "headers": headers})
    if scope["path"] == "/boom":
        raise ValueError("boom")
    if scope["path"] == "/bye":
        await send({"type": "websocket.close", "code": 4000, "reason": "bye"})
        return
    await echo(receive, send)


async def echo(receive, send):
    while (message := await receive())["type"] == "websocket.receive":
        kind = "text" if message.get("text") is not None else "bytes"
        await send({"type": "websocket.send", kind: message[kind]})
    say(f"websocket closed {message['code']}")


PATHS = {
    f"/{one.__name__}": one
    for one in (
        facts, events, deaf, sleeper, stubborn, slowly, upload, ignores, download, file, pieces,
        hints, injects, too_long, too_short, nothing, twice, background,
    )
}  # fmt: skip
