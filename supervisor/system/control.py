"""The socket at which a master listens for orders, by its name in the runtime directory (unix(7),
SOCK_SEQPACKET: each message is whole).
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Final

CONTROL: Final = "control"

_BESIDE: Final = f".{CONTROL}.new"
_BACKLOG: Final = 16
_CREDENTIALS: Final = "3i"  # struct ucred: pid, uid, gid


def listen_for_orders(directory: int) -> socket.socket:
    """A listening socket at the name in `directory`, a descriptor; only our user may connect.

    Bound beside and renamed, so that nobody finds it before it listens. The way by /proc is short,
    however long the path of the directory is.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    umask = os.umask(0o177)
    try:
        _remove_stale(directory)
        listener.bind(f"/proc/self/fd/{directory}/{_BESIDE}")
        listener.listen(_BACKLOG)
        os.rename(_BESIDE, CONTROL, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(umask)
    listener.setblocking(False)
    return listener


def connect_to_master(directory: int) -> socket.socket:
    """A connection to the master of the runtime directory. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(f"/proc/self/fd/{directory}/{CONTROL}")
    except OSError:
        connection.close()
        raise
    return connection


def uid_of_peer(connection: socket.socket) -> int:
    """The user of the process that connected (SO_PEERCRED)."""
    size = struct.calcsize(_CREDENTIALS)
    facts = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    uid: int = struct.unpack(_CREDENTIALS, facts)[1]
    return uid


def _remove_stale(directory: int) -> None:
    try:
        os.unlink(_BESIDE, dir_fd=directory)
    except FileNotFoundError:
        return
