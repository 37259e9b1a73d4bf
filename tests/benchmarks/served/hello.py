"""The application that every web server serves, in its own environment."""

import asyncio
import time

from bare import tell

BODY = b"hello"
PLAIN = [("Content-Type", "text/plain"), ("Content-Length", "5")]
EVENTS = [("Content-Type", "text/event-stream")]
SECONDS = {"/slow": 1.0, "/long": 6.0}
COUNT, EVENT, APART = 150, b"data: tick\n\n", 0.1


def wsgi(environ, start_response):
    path = environ["PATH_INFO"]
    if path != "/":
        tell("begun")
        time.sleep(SECONDS.get(path, 0.0))
    start_response("200 OK", EVENTS if path == "/stream" else PLAIN)
    return ticks() if path == "/stream" else [BODY]


def ticks():
    for _ in range(COUNT):
        yield EVENT
        time.sleep(APART)


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        for state in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{state}.complete"})
        return
    path = scope["path"]
    if path != "/":
        tell("begun")
        await asyncio.sleep(SECONDS.get(path, 0.0))
    headers = EVENTS if path == "/stream" else PLAIN
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": 200, "headers": pairs})
    for _ in range(COUNT if path == "/stream" else 0):
        await send({"type": "http.response.body", "body": EVENT, "more_body": True})
        await asyncio.sleep(APART)
    await send({"type": "http.response.body", "body": b"" if path == "/stream" else BODY})
