"""The process group that the master leads, and the terminal that it holds meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal

from supervisor.system import signals
from supervisor.system.observe import group_members
from supervisor.system.process import has_threads, tell


class ProcessGroup:
    """The group that the master leads: it is signalled as one, and owns the terminal while it
    runs. `strangers` are the pids in it that were there before us.
    """

    def __init__(self, in_background: bool) -> None:
        self._before = os.getpgrp()
        self._is_handed_over = False
        self._terminal = None if in_background else _foreground_terminal(self._before)
        if self._before != os.getpid():
            os.setpgid(0, 0)
            self.strangers = set[int]()
        else:
            # In `supervisor start | tee log` a job-control shell puts tee into the group that we
            # lead.
            self.strangers = group_members(os.getpid()) - {os.getpid()}
        if self._terminal is not None and self._before != os.getpid():
            _hand_terminal(self._terminal, os.getpgrp())
            # The process that waits for us is no shell with job control: it would not notice that
            # Ctrl-Z has stopped us, and the terminal would hang.
            signals.ignore(signal.SIGTSTP)

    def terminate(self, pids: list[int], *, lossless: bool) -> bool:
        """Send SIGTERM to the group, ourselves left out; True when someone else sent us one
        meanwhile.

        Where the group has strangers in it, only `pids` are told. Likewise if it has to be
        `lossless`: the kernel merges a TERM that comes between our own copy and its consumption.
        And where user code has left a thread running in this process: a thread of its own does not
        block what the main thread blocks, so our own copy would go there, and pass for an
        operator's second signal.
        """
        if lossless or self.strangers or has_threads():
            for pid in pids:
                tell(pid, signal.SIGTERM)
            return False
        with signals.blocked(signal.SIGTERM):
            os.killpg(os.getpid(), signal.SIGTERM)
            # Who is stopped would not see it before the deadline.
            os.killpg(os.getpid(), signal.SIGCONT)
            sender = signals.consume(signal.SIGTERM)
            return sender is not None and sender != os.getpid()

    @property
    def is_ours_alone(self) -> bool:
        """True when every process in it descends from us."""
        return not self.strangers

    def hand_terminal_to(self, group: int) -> None:
        """Let another group of our session have the terminal, where its foreground is ours."""
        terminal = _foreground_terminal(os.getpgrp())
        if terminal is not None:
            _hand_terminal(terminal, group)
        self._is_handed_over = True

    @property
    def owed(self) -> tuple[int, int] | None:
        """The descriptor of the terminal and the group that gets it back at the end."""
        if self._terminal is None or self._before == os.getpid():
            return None
        return self._terminal, self._before

    def release(self) -> None:
        """Give the terminal back to the group that had it."""
        if self.owed is not None and not self._is_handed_over:
            _hand_terminal(*self.owed)


def _foreground_terminal(group: int) -> int | None:
    """The descriptor of the terminal whose foreground `group` holds, if any."""
    for descriptor in (0, 2, 1):
        with contextlib.suppress(OSError):
            if os.tcgetpgrp(descriptor) == group:
                return descriptor
    return None


def _hand_terminal(descriptor: int, group: int) -> None:
    with signals.blocked(signal.SIGTTOU), contextlib.suppress(OSError):
        os.tcsetpgrp(descriptor, group)
