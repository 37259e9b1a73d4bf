"""From a child to another program: which file, which descriptors, which signals, then exec(2).

Knows nothing of configuration or of the scoreboard.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from supervisor.errors import Exit
from supervisor.system import process, signals

FIRST_PASSED: Final = 3  # sd_listen_fds(3)


class Program(NamedTuple):
    """A program to run. `directory` is "" for where we are."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    directory: str

    def file(self) -> str | None:
        """The executable file as execvp(3) would find it; None where there is none."""
        name = self.arguments[0]
        if "/" in name:
            return shutil.which(os.path.join(os.path.abspath(self.directory), name))
        return shutil.which(name, path=self.environment.get("PATH", os.defpath))


def become(program: Program, sockets: Sequence[int], report: int, kept: Sequence[int]) -> NoReturn:
    """Be `program` from here on: `sockets` from descriptor 3, nothing else open but 0, 1, 2.

    Call it with all signals blocked: one that comes meanwhile acts on the program, or on us by its
    default. `kept` stay open until the exec; why it failed is written to `report`.
    """
    first_free = FIRST_PASSED + len(sockets)
    high = [_above(descriptor, first_free) for descriptor in (*sockets, *kept, report)]
    for number, descriptor in enumerate(high[: len(sockets)], FIRST_PASSED):
        os.dup2(descriptor, number, inheritable=True)
    _close_on_exec(first_free)
    try:
        if program.directory:
            os.chdir(program.directory)
        file = program.file()
        if file is None:
            raise FileNotFoundError(f"{program.arguments[0]}: no such program")
        signals.set_timer(0)
        signals.restore_all_defaults()
        signals.unblock_all()
        os.execve(file, list(program.arguments), program.environment)
    except OSError as error:
        os.write(high[-1], f"cannot run {program.arguments[0]!r}: {error}\n".encode())
    process.leave(Exit.START_FAILED)


def _above(descriptor: int, lowest: int) -> int:
    """A duplicate that no other of ours is moved onto."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, lowest)


def _close_on_exec(lowest: int) -> None:
    """Mark every descriptor from `lowest` on: libraries open some without asking.

    close_range(2) could do it in one call, from Linux 5.11 on.
    """
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if int(entry.name) >= lowest:
                os.set_inheritable(int(entry.name), False)
