"""Another master by the command line of this one: what is kept of the start, fork and exec."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, NoReturn

from supervisor.errors import SystemFailure
from supervisor.log import entries
from supervisor.system import process, signals

# Whoever starts something in the background of a terminal that it does not lead ignores these, or
# it stops as soon as it writes; and the first two until it has handlers of its own.
_IGNORED: Final = (
    signal.SIGHUP,
    signal.SIGUSR2,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
)


class Origin(NamedTuple):
    """How this process was started: where, with which words, in which environment."""

    command: tuple[str, ...]
    directory: str
    environment: Mapping[str, str]

    @classmethod
    def now(cls) -> Origin:
        """Of this process, before it changes any of that."""
        command = (sys.executable, *sys.orig_argv[1:])
        return cls(command, _directory(), dict(os.environ))

    def launch(self, changes: Mapping[str, str], kept: int, *, apart: bool) -> int:
        """Start it once more; the pid. Its environment is that of the start with `changes` ("": not
        set); the descriptor `kept` is passed on.

        It leads a process group of its own, and is no child of ours: its parent is whoever adopts
        our orphans. That is this process, or, `apart`, whoever it would be without us. Raises
        SystemFailure.
        """
        environment = {**self.environment, **changes}
        environment = {key: value for key, value in environment.items() if value}
        entries.flush()
        reader, writer = os.pipe()
        mask = signals.block_all()
        process.become_subreaper(not apart)
        try:
            middle = os.fork()
            if middle == 0:
                _fork(writer, self.command, self.directory, environment, kept)
            os.close(writer)
            process.reap_one(middle)
            with open(reader) as report:
                pid, _, problem = report.read().partition("\n")
        except OSError as error:
            raise SystemFailure(f"cannot fork: {error.strerror}") from error
        finally:
            process.become_subreaper()
            signals.set_mask(mask)
        if problem or not pid:
            raise SystemFailure(f"no successor can be started: {problem.strip() or 'cannot fork'}")
        return int(pid)


def _directory() -> str:
    """Where we are. By the name that the shell has for it, if that leads there: behind a link, the
    next version may stand there.
    """
    named = os.environ.get("PWD", "")
    with contextlib.suppress(OSError):
        if os.path.samefile(named, "."):
            return named
    with contextlib.suppress(OSError):
        return os.getcwd()
    return "/"


def _fork(
    writer: int,
    command: Sequence[str],
    directory: str,
    environment: Mapping[str, str],
    kept: int,
) -> NoReturn:
    """In the process between: its end makes an orphan of what it has forked."""
    try:
        pid = os.fork()
        if pid == 0:
            _execute(writer, command, directory, environment, kept)
        os.write(writer, b"%d\n" % pid)
    finally:
        os._exit(0)


def _execute(
    writer: int,
    command: Sequence[str],
    directory: str,
    environment: Mapping[str, str],
    kept: int,
) -> NoReturn:
    """Its report ends with exec(2); before that, with the reason why there was none."""
    try:
        os.setpgid(0, 0)
        os.chdir(directory)
        os.set_inheritable(kept, True)
        signals.restore_all_defaults()
        for number in _IGNORED:
            signals.ignore(number)
        signals.unblock_all()
        os.execve(command[0], list(command), environment)
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        os.write(writer, f"\n{name}{error.strerror}".encode())
    finally:
        os._exit(71)
