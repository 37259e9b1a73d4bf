"""The record lock that says which process a server's master is (fcntl(2), F_SETLK and F_GETLK).

The kernel drops it with its owner and names the owner, so a stale file or a reused pid fools
nobody. Closing any descriptor of the file drops it too: a master never opens its lock twice.

It covers two bytes. Two masters hand it over one byte at a time: the predecessor gives up the
second, the successor takes it, the predecessor gives up the first, the successor takes both.
Whoever asks about both finds a living owner at every instant, and a stranger gets them at none.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import Final

_FLOCK: Final = "hhqqi"  # struct flock: type, whence, start, length, pid
BOTH: Final = range(2)
FIRST: Final = range(1)
SECOND: Final = range(1, 2)

ELSEWHERE: Final = 0  # the owner's "pid", where it has none that we could see


def take(descriptor: int, part: range = BOTH) -> bool:
    """Lock an open file; False when somebody has it. Raises OSError."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, len(part), part.start)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return False
    return True


def give_up(descriptor: int, part: range) -> None:
    """Unlock these bytes."""
    fcntl.lockf(descriptor, fcntl.LOCK_UN, len(part), part.start)


def holder(descriptor: int) -> int | None:
    """The pid of the master that holds the lock; ELSEWHERE for one in another pid namespace; None
    when no master holds it.

    The question is about a read lock, with which only a write lock is in conflict, and that takes
    the right to write: a stranger who may merely read the file cannot pose as its owner. An open
    file description's lock (F_OFD_SETLK) has no owner, pid -1, and is never a master's.
    """
    request = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, len(BOTH), 0)
    answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, request)
    kind, _, _, _, pid = struct.unpack(_FLOCK, answer)
    return None if kind == fcntl.F_UNLCK or pid < ELSEWHERE else pid
