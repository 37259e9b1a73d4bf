"""`--daemon`: the server in a session of its own, while the shell that started it waits until the
server is ready or has ended, and gets the status.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NoReturn

from supervisor.errors import Exit
from supervisor.log import entries
from supervisor.system import notify, process, signals
from supervisor.system.pidfd import PidFd
from supervisor.system.recorder import SignalRecorder

_READY = b"."


class Launcher:
    """The waiting shell, as the server sees it: it is told of readiness, once.

    Until then the master keeps the shell's streams, for the start's errors; the children never have
    them, or a pipe behind the shell would stay open for good.
    """

    def __init__(self, writer: int, log_file: str) -> None:
        self._writer = writer
        self._released = False
        self._null = os.open(os.devnull, os.O_RDWR)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._log = os.open(log_file, flags, 0o666) if log_file else self._null

    def leave_streams(self) -> None:
        """Stdin becomes /dev/null; stdout and stderr the log file, if there is one."""
        for descriptor, target in ((0, self._null), (1, self._log), (2, self._log)):
            os.dup2(target, descriptor)

    def descriptors(self) -> tuple[int, ...]:
        """For a child to close."""
        return tuple({self._writer, self._null, self._log})

    def release(self) -> None:
        """Let the shell go on with status 0. A launcher that was killed meanwhile is a SIGPIPE to
        us.
        """
        if self._released:
            return
        self._released = True
        self.leave_streams()
        os.write(self._writer, _READY)
        # Not closed: its number is on the list of what children close, and must not become another.
        os.dup2(self._null, self._writer, inheritable=False)


def launch(serve: Callable[[Launcher], NoReturn], log_file: str) -> NoReturn:
    """Fork the server; leave with 0 when it is ready, or as it left.

    A termination signal is passed on to it, so Ctrl-C ends a start that takes too long.
    """
    recorder = SignalRecorder()
    recorder.install()
    reader, writer = os.pipe()

    launcher = os.getpid()

    def server() -> NoReturn:
        notify.pass_on(os.environ, launcher)
        recorder.close()
        os.close(reader)
        process.lead_session()
        entries.rename("master")
        serve(Launcher(writer, log_file))

    forked: dict[int, str] = {}
    process.fork_all([("server", server)], forked)
    os.close(writer)
    os.set_blocking(reader, False)
    (pid,) = forked
    _await(pid, reader, recorder)


def _await(pid: int, reader: int, recorder: SignalRecorder) -> NoReturn:
    watched = [reader]
    with PidFd(pid) as master:
        while True:
            recorder.wait(None, *watched)
            said = _read(reader)
            if said == _READY:
                process.leave(Exit.OK)
            if said == b"":
                watched.clear()  # it is about to die: SIGCHLD tells of what
            for death in process.reap():
                if death.pid == pid:
                    _leave_as(death)
            for number in recorder.take():
                if number in signals.TERMINATIONS:
                    master.send(number)


def _read(reader: int) -> bytes | None:
    try:
        return os.read(reader, 1)
    except BlockingIOError:
        return None


def _leave_as(death: process.Death) -> NoReturn:
    if death.signum is not None:
        process.die_of(death.signum)
    process.leave(death.exit_code or 0)
