"""The applications that every server serves, in its own environment; nothing of the project is
imported.

A server without a web framework must not pay for one, so asyncio is imported where it is needed.
"""

import os
import time

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
PLAIN = [("Content-Type", "text/plain"), ("Content-Length", "5")]
EVENTS = [("Content-Type", "text/event-stream")]
SECONDS = {"/slow": 1.0, "/long": 6.0, "/longer": 30.0}
COUNT, EVENT, APART = 150, b"data: tick\n\n", 0.1


def tell(word):
    """Tell the benchmark where the application was loaded, and what it begins."""
    with open(os.environ["BENCH_FIFO"], "wb", buffering=0) as fifo:
        fifo.write(f"{word} {os.getpid()}\n".encode())


def tcp(connection, _address=None):
    connection.recv(65536)
    connection.sendall(ANSWER)


def udp(data, _address=None):
    return data


def wsgi(environ, start_response):
    path = environ["PATH_INFO"]
    if path != "/":
        tell("begun")
        time.sleep(SECONDS.get(path, 0.0))
    start_response("200 OK", EVENTS if path == "/stream" else PLAIN)
    return ticks() if path == "/stream" else [b"hello"]


def ticks():
    for _ in range(COUNT):
        yield EVENT
        time.sleep(APART)


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        for state in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{state}.complete"})
    elif scope["type"] == "websocket":
        await websocket(receive, send)
    elif scope["path"] == "/":
        await answer(send, PLAIN, b"hello")
    else:
        await slow(scope["path"], send)


async def websocket(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    tell("begun")
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def slow(path, send):
    import asyncio

    tell("begun")
    await asyncio.sleep(SECONDS.get(path, 0.0))
    await answer(send, EVENTS if path == "/stream" else PLAIN, b"hello", path == "/stream")
    for _ in range(COUNT if path == "/stream" else 0):
        await asyncio.sleep(APART)
        await send({"type": "http.response.body", "body": EVENT, "more_body": True})


async def answer(send, headers, body, more=False):
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": 200, "headers": pairs})
    await send({"type": "http.response.body", "body": body, "more_body": more})


tell("loaded")
