"""Entries in journald's own protocol, so that one of many lines stays one entry
(https://systemd.io/JOURNAL_NATIVE_PROTOCOL).

Knows fields, bytes and one socket; what an entry says is log.py's.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Mapping
from typing import Final

from supervisor.log.forms import Entry, Level, Origin, as_journal

SOCKET: Final = "/run/systemd/journal/socket"
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL

# syslog(3).
_PRIORITY: Final[dict[int, int]] = {Level.DEBUG: 7, Level.INFO: 6, Level.WARNING: 4, Level.ERROR: 3}


def priority_of(level: int) -> int:
    """The syslog priority of a level."""
    return _PRIORITY.get(level, 2 if level > Level.ERROR else 6)


def encode(fields: Mapping[str, str]) -> bytes:
    """One entry: `KEY=value` lines; a value with a line break follows its key and its length."""
    parts: list[bytes] = []
    for key, value in fields.items():
        data = value.encode("utf-8", "backslashreplace")
        if b"\n" in data:
            parts.append(b"%s\n%s%s\n" % (key.encode(), struct.pack("<Q", len(data)), data))
        else:
            parts.append(b"%s=%s\n" % (key.encode(), data))
    return b"".join(parts)


class JournalSocket:
    """The way to journald. Children share the master's socket: the kernel tells who sent what."""

    def __init__(self, path: str = "") -> None:
        self._path = path or SOCKET
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def send(self, fields: Mapping[str, str]) -> None:
        """Send one entry, whatever its size. Raises OSError when journald cannot be reached."""
        data = encode(fields)
        try:
            self._socket.sendto(data, self._path)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            self._send_file(data)

    def close(self) -> None:
        """Give the descriptor back."""
        self._socket.close()

    def _send_file(self, data: bytes) -> None:
        """Too large for a datagram: pass a sealed memfd that holds it."""
        descriptor = os.memfd_create("journal-entry", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        try:
            os.write(descriptor, data)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
            passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
            self._socket.sendmsg([], passed, 0, self._path)
        finally:
            os.close(descriptor)


class Journal:
    """Sends each entry; what journald does not take goes to stderr, which is its stream as well."""

    def __init__(self) -> None:
        self._journal = JournalSocket()

    def put(self, entry: Entry, origin: Origin) -> None:
        """Send one entry. Never raises OSError."""
        message, priority = as_journal(entry, origin), priority_of(entry.severity)
        fields = {
            "MESSAGE": message,
            "PRIORITY": str(priority),
            "SYSLOG_IDENTIFIER": "supervisor",
            "LOGGER": entry.logger or "supervisor",
        }
        try:
            self._journal.send(fields)
        except OSError:
            text = "".join(f"<{priority}>{line}\n" for line in message.splitlines())
            with contextlib.suppress(OSError):
                os.write(2, text.encode("utf-8", "backslashreplace"))

    def give_to(self, uid: int, gid: int) -> None:
        """It belongs to nobody."""

    def close(self) -> None:
        """Give the socket back."""
        self._journal.close()
