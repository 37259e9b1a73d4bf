"""One application in three forms, which fails in the way that its path, or first line, says."""

import asyncio
import collections
import ctypes
import itertools
import os
import resource
import signal
import socket
import sys
import threading
from typing import Any


def segv() -> None:
    ctypes.string_at(0)


def leave() -> None:
    os._exit(9)


def exit_in_thread() -> None:
    """Ends the thread, as Python has it, and nothing else."""
    thread = threading.Thread(target=sys.exit, args=("enough",))
    thread.start()
    thread.join()


def exhaust() -> None:
    """Ask for more memory than the process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**30, hard))
    try:
        bytearray(2**31)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def swallow_all() -> None:
    """Take memory until the kernel objects."""
    taken = [bytearray(os.urandom(1 << 20)) for _ in range(1000)]
    del taken


def in_c() -> None:
    """Compute where no signal handler of Python's runs."""
    collections.deque(itertools.repeat(None), maxlen=0)


async def never() -> None:
    await asyncio.Event().wait()


def fail() -> None:
    raise ValueError("no such cart")


def kill() -> None:
    """As an operator does it."""
    os.kill(os.getpid(), signal.SIGKILL)


WAYS = {
    "segv": segv,
    "exit": leave,
    "thread": exit_in_thread,
    "bye": sys.exit,
    "memory": exhaust,
    "greedy": swallow_all,
    "c": in_c,
    "never": lambda: asyncio.run(never()),
    "raise": fail,
    "kill": kill,
}


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    WAYS[environ["PATH_INFO"][1:]]()
    start_response("200 OK", [])
    return [b"alive"]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    way = scope["path"][1:]
    if way == "never":
        await never()
    WAYS[way]()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"alive"})


def tcp(connection: socket.socket, address: Any) -> None:
    way = connection.makefile().readline().split()[1][1:]
    WAYS[way]()
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nalive")
