"""What the server under soak serves: each answer says who gave it, and can be checked."""

import os
import socket
from collections.abc import Callable, Iterable
from typing import Any, Final

from supervisor import Child, current

ENTRY_TTL: Final = 60.0  # s
# More than a socket holds: who does not read it keeps the child until connection_timeout.
LARGE: Final = bytes(16_777_216)

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
type = "wsgi"
children = 2
listen = ["tcp://127.0.0.1:0"]
app = "tests.benchmarks.soak_served:application"
keep_alive = 0.0
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


def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with the path."""
    body = environ["PATH_INFO"].encode()
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def reply(data: bytes, _address: Any) -> bytes:
    """Send a datagram back."""
    return data


def beat(child: Child) -> None:
    """Leave a file where nothing may stay."""
    (child.tempdir / "beat").write_text(str(os.getpid()))
