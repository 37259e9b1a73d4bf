"""Applications of the three interfaces that act as their path says."""

import asyncio
import os
import sys
import threading
import time


def begin():
    os.write(2, b"request begun\n")


def wsgi(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/slow":
        begin()
        time.sleep(1)
    elif path == "/hang":
        begin()
        time.sleep(1000)
    elif path == "/boom":
        raise ValueError("boom")
    elif path == "/busy":
        start_response("503 Service Unavailable", [])
        return [b"busy"]
    elif path == "/stream":
        return late_start(start_response)
    elif path == "/endless":
        start_response("200 OK", [])
        return ticks()
    elif path == "/broken":
        start_response("200 OK", [])
        return broken()
    elif path == "/upload":
        size = sum(len(part) for part in iter(lambda: environ["wsgi.input"].read(65536), b""))
        start_response("200 OK", [])
        return [b"%d" % size]
    elif path == "/catches":
        try:
            size = len(environ["wsgi.input"].read())
        except Exception:
            start_response("400 Bad Request", [])
            return [b"caught"]
        start_response("200 OK", [])
        return [b"%d" % size]
    elif path == "/lines":
        start_response("200 OK", [])
        return [b"|".join(environ["wsgi.input"])]
    elif path == "/who":
        start_response("200 OK", [])
        return [f"{environ['REMOTE_ADDR']} {environ['wsgi.url_scheme']}".encode()]
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


def ticks():
    try:
        while True:
            time.sleep(0.02)
            yield b"tick\n"
    finally:
        os.write(2, b"endless closed\n")


async def tick(send):
    try:
        while True:
            await asyncio.sleep(0.02)
            await send(b"tick\n")
    finally:
        os.write(2, b"endless closed\n")


def late_start(start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    for number in range(3):
        yield b"part %d\n" % number


def broken():
    yield b"one"
    raise ValueError("broken")


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await echo(receive, send)
    else:
        await answer(scope["path"], scope, receive, send)


async def lifespan(receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("lifespan is over", file=sys.stderr, flush=True)
    await send({"type": "lifespan.shutdown.complete"})


async def echo(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await act(message["text"])
        await send({"type": "websocket.send", "text": message["text"]})


async def act(text):
    if text == "wait":
        await asyncio.sleep(0.5)
    elif text == "block":
        time.sleep(1000)


async def answer(path, scope, receive, send):
    status, parts = 200, [b"hello"]
    if path == "/endless":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        body = {"type": "http.response.body", "more_body": True}
        await tick(lambda data: send({**body, "body": data}))
    if path == "/slow":
        begin()
        await asyncio.sleep(1)
    elif path == "/hang":
        begin()
        await asyncio.sleep(1000)
    elif path == "/block":
        begin()
        time.sleep(1000)
    elif path == "/boom":
        raise ValueError("boom")
    elif path == "/busy":
        status, parts = 503, [b"busy"]
    elif path == "/stream":
        parts = [b"part %d\n" % number for number in range(3)]
    elif path == "/upload":
        parts = [b"%d" % await size_of(receive)]
    elif path == "/catches":
        try:
            parts = [b"%d" % await size_of(receive)]
        except Exception:
            status = 400
    elif path == "/who":
        parts = [f"{scope['client'][0]} {scope['scheme']}".encode()]
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for number, part in enumerate(parts, 1):
        message = {"type": "http.response.body", "body": part, "more_body": number < len(parts)}
        await send(message)


async def size_of(receive):
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    return size


async def rsgi_echo(protocol):
    transport = await protocol.accept()
    while (message := await transport.receive()).kind:  # 0 is a close
        await act(message.data)
        await transport.send_str(message.data)


async def rsgi(scope, protocol):
    if scope.proto == "ws":
        await rsgi_echo(protocol)
        return
    headers = [("content-type", "text/plain")]
    if scope.path == "/slow":
        begin()
        await asyncio.sleep(1)
    elif scope.path == "/hang":
        begin()
        await asyncio.sleep(1000)
    elif scope.path == "/block":
        begin()
        time.sleep(1000)
    elif scope.path == "/boom":
        raise ValueError("boom")
    if scope.path == "/busy":
        protocol.response_bytes(503, headers, b"busy")
    elif scope.path == "/upload":
        size = 0
        async for part in protocol:
            size += len(part)
        protocol.response_bytes(200, headers, b"%d" % size)
    elif scope.path == "/whole":
        protocol.response_bytes(200, headers, b"%d" % len(await protocol()))
    elif scope.path == "/catches":
        try:
            protocol.response_bytes(200, headers, b"%d" % len(await protocol()))
        except Exception:
            protocol.response_empty(400, headers)
    elif scope.path == "/late":
        transport = protocol.response_stream(200, headers)
        await transport.send_bytes(b"begun")
        await protocol()
    elif scope.path == "/who":
        who = f"{scope.client.rpartition(':')[0]} {scope.scheme}"
        protocol.response_str(200, headers, who)
    elif scope.path == "/endless":
        await tick(protocol.response_stream(200, headers).send_bytes)
    elif scope.path == "/stream":
        transport = protocol.response_stream(200, headers)
        for number in range(3):
            await transport.send_bytes(b"part %d\n" % number)
    else:
        protocol.response_bytes(200, headers, b"hello")


async def without_lifespan(scope, receive, send):
    assert scope["type"] == "http", scope["type"]
    await asgi(scope, receive, send)


async def fails_to_start(scope, receive, send):
    await receive()
    raise RuntimeError("no database")


async def says_that_it_failed(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "Traceback\nRuntimeError: no cache"})


async def never_starts(scope, receive, send):
    await asyncio.sleep(1000)


def make():
    return wsgi


def make_nothing():
    raise LookupError("nothing to make")


def counts_threads(environ, start_response):
    start_response("200 OK", [])
    return [b"%d" % THREADS_IN_MASTER]


THREADS_IN_MASTER = len(os.listdir("/proc/self/task")) if threading.active_count() else 0
