"""The runtime directory of one server, as its master has it: cleared, filled, given back.

Only what bears our marker is cleared, only names of ours are removed, and each by a descriptor of
the directory, so that neither a link nor another directory at the same path can lead us elsewhere.
"""

from __future__ import annotations

import os
import re
import socket
import stat
from pathlib import Path
from typing import Final

from supervisor.errors import SystemFailure
from supervisor.log.entries import log
from supervisor.system.claim import LOCK, MARKER, Claim
from supervisor.system.control import CONTROL, listen_for_orders
from supervisor.system.files import remove_file, write_atomically, write_new
from supervisor.system.paths import clear_journal
from supervisor.system.resources import Resources
from supervisor.system.tempdirs import TEMPORARY, clear_all, clear_generation, clear_slot

PID: Final = "pid"
SCOREBOARD: Final = "scoreboard"
JOURNAL: Final = "paths"  # and the pid of the master that writes it

_REMOVED: Final = re.compile(
    rf"({PID}|{CONTROL})|\.({PID}|{CONTROL})\.new|{SCOREBOARD}|\.{SCOREBOARD}(\.\d+)?\.new"
)
_JOURNALS: Final = re.compile(rf"{JOURNAL}(\.\d+)?")


class RuntimeDirectory:
    """The directory of the server `name`. A start takes it, its end gives it back.

    A successor joins its predecessor in it and owns nothing, until the claim is handed over; from
    then on the predecessor owns nothing. Who owns nothing removes no more than its own journal.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self.lock = path / LOCK
        self.pid_file = path / PID
        self.scoreboard = path / SCOREBOARD
        self.temporary = path / TEMPORARY
        self.journal = file_of(path, JOURNAL, os.getpid())
        self.claim = Claim(path, name)
        self.control: socket.socket | None = None  # listens for orders
        self._resources = Resources()

    def descriptors(self) -> tuple[int, ...]:
        """For a child to close."""
        control = [] if self.control is None else [self.control.fileno()]
        return (*self.claim.descriptors(), *control)

    def acquire(self, resources: Resources, heir: int | None = None) -> None:
        """Make the directory ours, lock it, and clear what a dead server left in it.

        It may also belong to the uid `heir`, to whom a server before us gave it. Raises
        AlreadyRunning (naming the pid), NoPermission for a directory that is not ours, which is
        left as it is, and SystemFailure.
        """
        self.claim.heir, self._resources = heir, resources
        self.claim.take()
        resources.add("runtime directory", self._release)
        with self.claim.told():
            self._take_back()
            self._clear()
            self._begin()

    def join(self, resources: Resources, control: socket.socket) -> None:
        """Enter the directory that our predecessor owns; `control` listens at its name already.
        Raises NoPermission and SystemFailure.
        """
        self._resources, self.control = resources, control
        resources.add("runtime directory", self._release)
        self.claim.join()
        with self.claim.told():
            resources.use_journal(self.journal)

    def listen(self) -> None:
        """Listen for orders, from now on."""
        with self.claim.told():
            self.control = listen_for_orders(self.claim.directory)

    def ensure(self) -> None:
        """Make the directory anew where somebody has removed it, or what is in it. For before a
        later generation; raises as `acquire` does, AlreadyRunning where another server has it now.
        """
        if self.claim.leads_to_us() and self.claim.is_marked():
            return
        if not self.claim.is_ours:
            raise SystemFailure(f"{self.path}: was removed while a successor was on its way")
        log.warning("runtime directory was removed; made again", path=self.path)
        if not self.claim.leads_to_us():
            self.claim.take_again()
        with self.claim.told():
            self._begin()
        if self.control is not None:
            self.control.close()
            self.listen()

    def note_pid(self) -> None:
        """Let the pid file name this process."""
        write_atomically(self.pid_file, b"%d\n" % os.getpid())

    def give_to(self, uid: int, gid: int) -> None:
        """Let another user own the directory and what is in it; before we become that user."""
        for name in (MARKER, LOCK, PID, self.journal.name):
            os.chown(name, uid, gid, dir_fd=self.claim.directory, follow_symlinks=False)
        os.fchown(self.claim.directory, uid, gid)

    def tempdir(self, generation: int, slot: int) -> Path:
        """Where a child may keep files; made when it is needed."""
        return self.temporary / str(generation) / str(slot)

    def clear_child(self, generation: int, slot: int) -> None:
        """Remove what a dead child registered, and its own directory."""
        if self.claim.directory >= 0:
            clear_slot(self.claim.directory, generation, slot)

    def clear_generation(self, generation: int) -> None:
        """Remove what is left of all children of a generation that has ended."""
        if self.claim.directory >= 0:
            clear_generation(self.claim.directory, generation)

    def clear_master(self, pid: int, generation: int) -> None:
        """Remove what is left of a successor that died with its only generation."""
        directory = self.claim.directory
        clear_journal(f"{JOURNAL}.{pid}", directory)
        clear_generation(directory, generation)
        remove_file(f".{SCOREBOARD}.{generation}.new", directory)

    def abandon(self) -> None:
        """Touch it no more: the successor to which it was given is dead, so that it may become
        another server's.
        """
        self._close()

    # Taken.

    def _take_back(self) -> None:
        """Take the directory's ownership before a path in it is used.

        Otherwise the user to whom it was given could replace a file in it by a link between our
        look at it and our use of it, and we would follow that link with root's rights.
        """
        directory = self.claim.directory
        facts = os.fstat(directory)
        if facts.st_uid not in (os.geteuid(), 0):
            os.fchown(directory, os.geteuid(), os.getegid())
            os.fchmod(directory, 0o755)
        elif facts.st_uid == os.geteuid() and facts.st_mode & 0o022:
            os.fchmod(directory, stat.S_IMODE(facts.st_mode) & ~0o022)

    def _clear(self) -> None:
        """Remove what a dead server left. Where no marker is, nothing is."""
        if self.claim.is_marked():
            self._remove_ours()
            self._clear_journals()

    def _begin(self) -> None:
        directory = self.claim.directory
        if not self.claim.is_marked():
            remove_file(MARKER, directory)
            write_new(MARKER, f"{self.name}\n".encode(), directory)
        self._resources.use_journal(self.journal)
        self.note_pid()

    # Given back.

    def _release(self) -> None:
        """Remove what is ours, if the directory still is; the marker goes when nothing is left but
        the lock, so that whoever finds it missing finds an empty directory.
        """
        directory = self.claim.directory
        if directory >= 0:
            remove_file(self.journal.name, directory)
        if self.claim.is_in_force():
            self._remove_ours()
            self._clear_journals()
            left = set(os.listdir(directory)) - {MARKER, LOCK}
            if left:
                log.warning("runtime directory stays", path=self.path, left=", ".join(sorted(left)))
            else:
                remove_file(MARKER, directory)
            remove_file(LOCK, directory)
            self.claim.remove_empty()
        self._close()

    def _remove_ours(self) -> None:
        """Remove all that a server keeps here, but for marker, lock and journal."""
        clear_all(self.claim.directory)
        for name in filter(_REMOVED.fullmatch, os.listdir(self.claim.directory)):
            remove_file(name, self.claim.directory)

    def _clear_journals(self) -> None:
        """Those of dead masters."""
        for name in filter(_JOURNALS.fullmatch, os.listdir(self.claim.directory)):
            clear_journal(name, self.claim.directory)

    def _close(self) -> None:
        if self.control is not None:
            self.control.close()
            self.control = None
        self.claim.close()


def file_of(directory: Path, name: str, pid: int) -> Path:
    """The path of a file that a master with this pid keeps in its runtime directory as long as it
    lives; so two masters, of which one succeeds the other, have one each.
    """
    return directory / f"{name}.{pid}"
