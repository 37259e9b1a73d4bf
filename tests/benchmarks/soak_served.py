"""What the server under soak serves: each answer says who gave it, and can be checked."""

import os
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from supervisor import Child, current

ENTRY_TTL: Final = 60.0  # s
# More than a socket holds: who does not read it keeps the child until connection_timeout.
LARGE: Final = bytes(16_777_216)

PAGE: Final = b"".join(b"line %d of the page\n" % number for number in range(200))
# Beside files, an application: the two ways to serve HTTP.
WEB: Final = {
    "http": 'type = "http"\nroot = "{directory}/www"\nconnection_timeout = 0.5',
    "wsgi": 'type = "wsgi"\napp = "tests.benchmarks.soak_served:application"\nkeep_alive = 0.0',
}

# The task is slot 8.
BEAT_FILES: Final = frozenset({"tmp", "tmp/8", "tmp/8/beat"})

CONFIG: Final = """\
name = "soak"
[master]
runtime_directory = "{directory}/run"
working_directory = "{root}"
restart = "on-crash"
[workers.tcp]
type = "tcp"
children = 4
listen = ["tcp://127.0.0.1:0"]
handler = "tests.benchmarks.soak_served:echo"
connection_timeout = 0.5
[workers.web]
children = 2
listen = ["tcp://127.0.0.1:0"]
{web}
[workers.udp]
type = "udp"
children = 2
listen = ["udp://127.0.0.1:0"]
handler = "tests.benchmarks.soak_served:reply"
[workers.beat]
type = "task"
children = 1
run = "tests.benchmarks.soak_served:beat"
every = 0.2
[workers.status]
type = "status"
children = 1
listen = ["tcp://127.0.0.1:0"]
connection_timeout = 0.5
[modules.counters]
path = "{directory}/totals.json"
[modules.cache]
path = "{directory}/cache"
size = 1048576
"""


def write_config(directory: Path, root: Path, web: str) -> Path:
    """Put what the server needs into a directory, and name its configuration."""
    (directory / "www").mkdir()
    (directory / "www" / "page").write_bytes(PAGE)
    config = directory / "soak.toml"
    section = WEB[web].format(directory=directory)
    config.write_text(CONFIG.format(directory=directory, root=root, web=section))
    return config


def echo(connection: socket.socket, _address: Any) -> None:
    """Say who serves, then send a line back by way of the cache."""
    connection.sendall(b"%d\n" % os.getpid())
    line = b""
    while not line.endswith(b"\n"):
        part = connection.recv(4096)
        if not part:
            return
        line += part
    if line == b"large\n":
        connection.sendall(LARGE)
        return
    cache: Any = current().modules["cache"]
    cache.put(line, line, ttl=ENTRY_TTL)
    connection.sendall(cache.get(line) or b"lost\n")


def application(_environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with the page."""
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(PAGE)))])
    return [PAGE]


def reply(data: bytes, _address: Any) -> bytes:
    """Send a datagram back."""
    return data


def beat(child: Child) -> None:
    """Leave a file where nothing may stay."""
    (child.tempdir / "beat").write_text(str(os.getpid()))
