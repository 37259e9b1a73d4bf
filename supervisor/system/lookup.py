"""Where a running server is to be found: its runtime directory, as readers have it.

A directory is trusted only if it is the reader's own, root's, or the user's that the configuration
names: anybody may make /tmp/NAME-0, with a lock and a pid of his choice in it. One exception:
systemd's DynamicUser=, a user that no configuration can name, has its directory below /run, where
only root makes one.
"""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from supervisor.config.schema import MasterOptions
from supervisor.errors import NameProblem, NotRunning
from supervisor.system import privileges, record_lock
from supervisor.system.claim import LOCK
from supervisor.system.files import directory_at, opened_regular
from supervisor.system.runtime import SCOREBOARD

_RUN: Final = Path("/run")
_DYNAMIC: Final = range(61_184, 65_520)  # uids of DynamicUser=, systemd.exec(5)


class Found:
    """A place where a server may run, or does."""

    def __init__(self, path: Path, trusted: frozenset[int]) -> None:
        self.path = path
        self.scoreboard = path / SCOREBOARD
        self._trusted = trusted

    def owner(self) -> int | None:
        """The pid of the running master, as the kernel tells it; `record_lock.ELSEWHERE` for one
        in another pid namespace, None when none runs here. Never in the master.
        """
        with contextlib.suppress(OSError), directory_at(self.path) as directory:
            if os.fstat(directory).st_uid in self._trusted:
                with opened_regular(LOCK, directory) as lock:
                    return record_lock.holder(lock)
        return None

    def stranger(self) -> str | None:
        """Who owns the directory, where that is nobody whom we trust."""
        with contextlib.suppress(OSError):
            uid = self.path.lstat().st_uid
            return None if uid in self._trusted else _name_of(uid)
        return None


def runtime_directories(name: str, configured: str) -> list[Path]:
    """Where the runtime directory of server `name` may be, the one that a start uses first."""
    if configured:
        return [Path(os.path.abspath(configured))]
    environ, uid = os.environ, os.geteuid()
    given = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    user = environ.get("XDG_RUNTIME_DIR", "")
    places = [Path(given)] if given else []
    if uid == 0:
        places.append(_RUN / name)
    if user and os.path.isdir(user):
        places.append(Path(user) / name)
    places.append(Path("/tmp") / f"{name}-{uid}")
    return places if uid == 0 else [*places, _RUN / name]


def find_running(name: str, options: MasterOptions) -> tuple[Found, int]:
    """Where the server `name` runs, and its master's pid. Raises NotRunning, which names the owner
    of a directory that is not trusted.
    """
    trusted = _trusted(options)
    paths = runtime_directories(name, options.runtime_directory)
    places = [Found(one, trusted | _dynamic_user(one)) for one in paths]
    for place in places:
        pid = place.owner()
        if pid is not None:
            return place, pid
    raise NotRunning(f"{name} is not running" + "".join(_told(places)))


def _dynamic_user(path: Path) -> frozenset[int]:
    """The owner of `path`, if that is a user which systemd made for the time of a service."""
    with contextlib.suppress(OSError):
        uid, parent = path.lstat().st_uid, _RUN.lstat()
        is_roots = parent.st_uid == 0 and not parent.st_mode & 0o022
        if path.parent == _RUN and is_roots and uid in _DYNAMIC:
            return frozenset({uid})
    return frozenset()


def _trusted(options: MasterOptions) -> frozenset[int]:
    uids = {os.geteuid(), 0}
    with contextlib.suppress(NameProblem):
        identity = privileges.wanted(options)
        uids |= {identity.uid} if identity is not None else set()
    return frozenset(uids)


def _told(places: Iterable[Found]) -> Iterable[str]:
    for place in places:
        owner = place.stranger()
        if owner is not None:
            yield f"; {place.path} belongs to {owner}, and is not looked into"


def _name_of(uid: int) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return f"uid {uid}"
