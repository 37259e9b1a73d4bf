"""The talk with the service manager: it is told (sd_notify(3), sd_watchdog_enabled(3)), and hands
over sockets (sd_listen_fds(3)).

Only the master speaks. Its variables leave the environment, so that no child, and no program that a
child starts, speaks for it.
"""

from __future__ import annotations

import itertools
import math
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

from supervisor.errors import ConfigError
from supervisor.log.entries import log

_FIRST_INHERITED: Final = 3  # sd_listen_fds(3)
_DIGITS: Final = 20  # of an unsigned number of 64 bits
_LONGEST_INTERVAL: Final = 86_400.0  # s: a wait takes no number of any size
_SEND_TIMEOUT: Final = 2.0  # s: a service manager that is stuck must not stop the master

Inherited = tuple[int, str]  # a descriptor and its name, "" if it has none


def take_inherited(environ: MutableMapping[str, str]) -> list[Inherited]:
    """The descriptors passed to this very process; LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES go.

    Raises ConfigError for one that is not open: LISTEN_FDS may be any number.
    """
    values = [environ.pop(key, "") for key in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")]
    if _number(values[0]) != os.getpid():
        return []
    count, names = _number(values[1]), values[2].split(":")
    return [
        (_open(_FIRST_INHERITED + index, count), name)
        for index, name in zip(
            range(count), itertools.chain(names, itertools.repeat("")), strict=False
        )
    ]


def pass_on(environ: MutableMapping[str, str], launcher: int) -> None:
    """Let what was meant for the pid `launcher` be ours: that process has only forked us."""
    for key in ("LISTEN_PID", "WATCHDOG_PID"):
        if _number(environ.get(key, "")) == launcher:
            environ[key] = str(os.getpid())


def _open(descriptor: int, count: int) -> int:
    try:
        os.fstat(descriptor)
    except OSError:
        problem = f"LISTEN_FDS={count}: descriptor {descriptor} is not open"
        raise ConfigError([problem]) from None
    return descriptor


def _number(text: str) -> int:
    """The number in a variable, 0 where it is none that a process could mean."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _DIGITS else 0


class Notifier:
    """The way to the service manager; without one, every word is lost and costs nothing.

    With WATCHDOG_USEC the master's waits end at half of that time, to send a sign of life: only
    the loop sends it, so a master that is stuck is found out.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._address = _address(environ.pop("NOTIFY_SOCKET", ""))
        self._lost = False  # said once: it may be back before the next word
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.settimeout(_SEND_TIMEOUT)
        self._interval = _watchdog_interval(environ) if self._socket else math.inf
        self._ping_at = time.monotonic() + self._interval
        self._is_heard = True  # by a service manager that listens to the main process alone

    def descriptors(self) -> tuple[int, ...]:
        """For a child to close."""
        return () if self._socket is None else (self._socket.fileno(),)

    def ready(self, status: str) -> None:
        """Every child is ready."""
        self._is_heard = True
        self._tell("READY=1", f"MAINPID={os.getpid()}", f"STATUS={status}")

    @property
    def is_watched(self) -> bool:
        """True where the service manager wants signs of life."""
        return self._interval < math.inf

    @property
    def is_there(self) -> bool:
        """True where a service manager listens."""
        return bool(self._address)

    def hold(self) -> None:
        """Say nothing, until `ready`: another master is the main process."""
        self._is_heard = False

    def hand_over(self, successor: int) -> None:
        """The main process is this one from now on; nobody listens to us any more."""
        self._tell(f"MAINPID={successor}")
        self.hold()

    def stopping(self, status: str) -> None:
        """The server ends, for good."""
        self._tell("STOPPING=1", f"STATUS={status}")

    def status(self, status: str, within: float = 0.0) -> None:
        """Tell what we do now; and that it may take `within` seconds before the next word
        (EXTEND_TIMEOUT_USEC).

        That moves the manager's deadlines of start, stop and watchdog, where they are nearer.
        """
        extension = [f"EXTEND_TIMEOUT_USEC={math.ceil(within * 1e6)}"] if within > 0 else []
        self._tell(f"STATUS={status}", *extension)

    @property
    def due(self) -> float:
        """When the watchdog wants the next sign of life (monotonic s), infinite for never."""
        return self._ping_at

    def ping(self, now: float) -> None:
        """Give it, if it is due."""
        if now >= self._ping_at:
            self._ping_at = now + self._interval
            self._tell("WATCHDOG=1")

    def close(self) -> None:
        """Give the socket back."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tell(self, *lines: str) -> None:
        if self._socket is None or not self._is_heard:
            return
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            if not self._lost:
                log.warning("service manager unreachable", error=error.strerror or str(error))
            self._lost = True


def _address(text: str) -> str:
    """The address of NOTIFY_SOCKET as socket(2) takes it: a path, or an abstract name behind
    "@".
    """
    if text.startswith("@"):
        return "\0" + text[1:]
    if text and not text.startswith("/"):
        log.warning("NOTIFY_SOCKET ignored", value=text)
        return ""
    return text


def _watchdog_interval(environ: MutableMapping[str, str]) -> float:
    """Seconds between two signs of life: half of what WATCHDOG_USEC allows; infinite without it.

    Not ours where WATCHDOG_PID names another process.
    """
    usec, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
    if _number(usec) and (not pid or _number(pid) == os.getpid()):
        return min(_number(usec) / 2e6, _LONGEST_INTERVAL)
    return math.inf
