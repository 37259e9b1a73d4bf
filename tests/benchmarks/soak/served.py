"""The applications of the server under soak: each answer names its child, and can be checked."""

import asyncio
import os
import re
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from string import Template
from typing import Any, Final

from supervisor import Child, current

ENTRY_TTL: Final = 60.0  # s
# More than a socket holds: who does not read it keeps the child until connection_timeout.
LARGE: Final = bytes(16_777_216)
LONG: Final = 3.0  # s
TICK: Final = 0.1  # s between two events of a stream
PAGE: Final = b"".join(b"line %d of the page\n" % number for number in range(200))
HERE: Final = "tests.benchmarks.soak.served"
# Beside files, an application: the two ways to serve HTTP.
WEB: Final = {
    "http": 'type = "http"\nroot = "$directory/www"\nconnection_timeout = 0.5',
    "wsgi": f'type = "wsgi"\napp = "{HERE}:application"\nkeep_alive = 0.0',
}
# Below tmp/GENERATION/SLOT, made only now and then.
BEAT_FILES: Final = re.compile(r"tmp(/N(/\d+(\.paths|/beat)?)?)?")


def write_config(directory: Path, root: Path, web: str) -> Path:
    """Put what the server needs into a directory, and name its configuration."""
    (directory / "www").mkdir()
    (directory / "www" / "page").write_bytes(PAGE)
    template = Path(__file__).with_name("soak.toml").read_text()
    text = Template(template.replace("$web", WEB[web])).substitute(directory=directory, root=root)
    (config := directory / "soak.toml").write_text(text)
    return config


def echo(connection: socket.socket, _address: Any) -> None:
    """Say who serves, then send a line back by way of the cache."""
    connection.sendall(b"%d\n" % os.getpid())
    with connection.makefile("rb") as lines:
        line = lines.readline()
    if line == b"large\n":
        connection.sendall(LARGE)
    elif line.endswith(b"\n"):
        cache: Any = current().modules["cache"]
        cache.put(line, line, ttl=ENTRY_TTL)
        connection.sendall(cache.get(line) or b"lost\n")


def application(_environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with the page."""
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(PAGE)))])
    return [PAGE]


async def lasting(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """An application that takes long: a request of some seconds, a stream that the client ends, a
    WebSocket.
    """
    if scope["type"] == "websocket":
        await repeat(receive, send)
    elif scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send(part(b"%d\n" % os.getpid()))
        if scope["path"] == "/long":
            await asyncio.sleep(LONG)
            await send(part(b"done\n", more=False))
        while scope["path"] == "/stream":
            await send(part(b"data: tick\n\n"))
            await asyncio.sleep(TICK)


def part(body: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def repeat(receive: Any, send: Any) -> None:
    """Say who serves, then say again each message."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": str(os.getpid())})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


def reply(data: bytes, _address: Any) -> bytes:
    """Send a datagram back."""
    return data


def beat(child: Child) -> None:
    """Leave a file where nothing may stay."""
    (child.tempdir / "beat").write_text(str(os.getpid()))
