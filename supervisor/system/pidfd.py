"""Another process, held so that a reused pid cannot be mistaken for it (pidfd_open(2))."""

from __future__ import annotations

import contextlib
import os
import signal

from supervisor.errors import NoPermission
from supervisor.system import signals


class PidFd:
    """A grip on another process that a reused pid cannot fool (pidfd_open(2))."""

    def __init__(self, pid: int) -> None:
        try:
            self._descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            self._descriptor = -1

    def __enter__(self) -> PidFd:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def send(self, signum: int) -> None:
        """Send a signal. Raises NoPermission when the process is another user's."""
        try:
            with contextlib.suppress(ProcessLookupError):
                if self._descriptor >= 0:
                    signal.pidfd_send_signal(self._descriptor, signum)
        except PermissionError:
            raise NoPermission(
                f"not allowed to send {signals.name_of(signum)}: not our process"
            ) from None

    def wait(self, timeout: float | None) -> bool:
        """Wait until it has ended; False at the timeout (s)."""
        return self._descriptor < 0 or signals.pid_is_gone(self._descriptor, timeout)
