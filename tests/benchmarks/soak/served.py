"""What the server under soak serves: each answer says who gave it, and can be checked."""

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
PAGE: Final = b"".join(b"line %d of the page\n" % number for number in range(200))
HERE: Final = "tests.benchmarks.soak.served"
# Beside files, an application: the two ways to serve HTTP.
WEB: Final = {
    "http": 'type = "http"\nroot = "$directory/www"\nconnection_timeout = 0.5',
    "wsgi": f'type = "wsgi"\napp = "{HERE}:application"\nkeep_alive = 0.0',
}
# Below tmp/GENERATION/SLOT; up to three generations live at a time.
BEAT_FILES: Final = re.compile(r"tmp(/\d+(/\d+(\.paths|/beat)?)?)?")


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


def reply(data: bytes, _address: Any) -> bytes:
    """Send a datagram back."""
    return data


def beat(child: Child) -> None:
    """Leave a file where nothing may stay."""
    (child.tempdir / "beat").write_text(str(os.getpid()))
