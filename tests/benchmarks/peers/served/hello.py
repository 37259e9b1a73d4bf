"""What every server serves. It tells the benchmark by a FIFO where it was loaded and is at work.

It runs in the servers' own environments, so it knows nothing of the project.
"""

import asyncio
import os
import time

LENGTH = "5"
BODY = b"hello"
SLOW = 1.0  # s


def tell(word: str) -> None:
    with open(os.environ["BENCH_FIFO"], "wb", buffering=0) as fifo:
        fifo.write(f"{word} {os.getpid()}\n".encode())


def wsgi(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        tell("begun")
        time.sleep(SLOW)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", LENGTH)])
    return [BODY]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    if scope["path"] == "/slow":
        tell("begun")
        await asyncio.sleep(SLOW)
    headers = [(b"content-type", b"text/plain"), (b"content-length", LENGTH.encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


async def lifespan(receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


tell("loaded")
