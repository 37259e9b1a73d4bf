"""Addresses as the configuration writes them: `tcp://HOST:PORT`, `udp://HOST:PORT`, `unix:///PATH`."""

from __future__ import annotations

import os
import re
import typing
from typing import Final, Literal

import msgspec

SUN_PATH: Final = 107  # bytes in a unix socket's path, unix(7)


class Address(msgspec.Struct, frozen=True):
    """Where a listener listens: `tcp` and `udp` have host and port (0 = any), `unix` has a path."""

    scheme: Literal["tcp", "udp", "unix"]
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def is_fixed(self) -> bool:
        """False for port 0, which is another port each time."""
        return self.scheme == "unix" or self.port != 0


class Listen(msgspec.Struct, frozen=True):
    """A `listen` entry, parsed."""

    address: Address
    mode: str = ""
    owner: str = ""


def parse_address(text: str) -> Address:
    """Return the address in `text`. Raises ValueError with the reason."""
    scheme, found, rest = text.partition("://")
    if not found or scheme not in ("tcp", "udp", "unix"):
        raise ValueError("expected tcp://HOST:PORT, udp://HOST:PORT or unix:///PATH")
    if scheme == "unix":
        return _unix_address(rest)
    host, colon, port = rest.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("an IPv6 address stands in brackets: [::1]:PORT")
    if not colon or not host:
        raise ValueError(f"expected {scheme}://HOST:PORT")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:
        raise ValueError(f"port {port!r} is not a number from 0 to 65535")
    return Address(typing.cast(Literal["tcp", "udp"], scheme), host=host, port=int(port))


def as_address(text: str, default_port: int = 8000) -> str:
    """`HOST:PORT`, `HOST`, `:PORT` and `unix:PATH`, as other servers take them, in our form; what
    has a scheme already stays. A relative path is one of the current directory.
    """
    if "://" in text:
        return text
    if text.startswith("unix:"):
        return f"unix://{os.path.abspath(text.removeprefix('unix:'))}"
    has_port = re.search(r":[0-9]*$", text) and not text.endswith("]")
    host, _, port = text.rpartition(":") if has_port else (text, "", "")
    return f"tcp://{host or '0.0.0.0'}:{port or default_port}"


def _unix_address(path: str) -> Address:
    if not path.startswith("/"):
        raise ValueError("a unix socket needs an absolute path: unix:///run/web.sock")
    if "\0" in path:
        raise ValueError("a path has no NUL byte")
    if len(path.encode()) > SUN_PATH:
        raise ValueError(f"the path has {len(path.encode())} bytes; the system takes {SUN_PATH}")
    return Address("unix", path=path)
