"""The death of a child as one entry: who died, of what, doing what, holding what, with its
traceback.
"""

from __future__ import annotations

import itertools
import re
import signal
from typing import Any, Final, NamedTuple

from supervisor.log.forms import Size
from supervisor.scoreboard.layout import State
from supervisor.system.process import Death

_FORK: Final = re.compile(r'/process\.py", line \d+ in fork_all$')


class Crash(NamedTuple):
    """Everything known about one child's death. Instants in seconds since 1970, durations in
    seconds.
    """

    at: float
    generation: int
    slot: int
    worker: str
    death: Death
    cause: str
    state: State
    in_state: float
    uptime: float
    request: str
    lock: str | None
    traceback: str
    was_ready: bool
    oom_killed: bool

    def record(self) -> dict[str, Any]:
        """The `last_crash` of the statistics."""
        return {
            "at": self.at,
            "generation": self.generation,
            "slot": self.slot,
            "worker": self.worker,
            "pid": self.death.pid,
            "cause": self.cause,
            "state": self.state.name.lower(),
            "lock": self.lock,
            "traceback": self.traceback,
        }

    def message(self) -> str:
        """One line for who started the server."""
        what = "died" if self.was_ready else "failed before it was ready"
        why = last_line(self.traceback)
        text = f"workers.{self.worker}: slot {self.slot} {what}: {self.cause}"
        return f"{text}: {why}" if why else text

    def facts(self) -> dict[str, Any]:
        """The facts of the log entry, with what the black box holds."""
        death = self.death
        return {
            "worker": self.worker,
            "slot": self.slot,
            "pid": death.pid,
            "cause": self.cause,
            "exit": death.exit_code,
            "signal": None if death.signum is None else death.cause,
            "core_dumped": True if death.dumped_core else None,
            "uptime": self.uptime,
            "state": self.state.name.lower(),
            "for": self.in_state,
            "request": self.request or None,
            "lock": self.lock,
            "peak_rss": Size(death.peak_rss),
            "cpu": death.cpu_seconds,
            "note": "killed by the kernel's OOM killer" if self.oom_killed else None,
            "traceback": self.traceback or None,
        }


def cause_of(death: Death, *, active: int, has_request_timeout: bool, is_stopping: bool) -> str:
    """`SIGSEGV`, `exit 3`, or for SIGALRM the deadline that sent it."""
    if death.signum == signal.SIGALRM:
        if is_stopping:
            return "stop_timeout"
        if active and has_request_timeout:
            return "request_timeout"
    return death.cause


def own_part(text: str) -> str:
    """A traceback without the frames of the master that forked the child: they say nothing."""
    kept, skips = [], False
    for line in text.splitlines():
        if not line.startswith("  File"):
            skips = False
        elif _FORK.search(line):
            skips = True
        if not skips:
            kept.append(line)
    return "\n".join(kept).strip("\n")


def last_line(traceback: str) -> str:
    """The line of a traceback that says what happened: the exception, or faulthandler's first."""
    lines = [line.strip() for line in traceback.splitlines() if line.strip()]
    if lines and lines[0].startswith(("Fatal Python error", "Timeout")):
        return lines[0]
    for heading, frame in itertools.pairwise(lines):
        if heading.endswith("(most recent call first):"):
            return frame
    return lines[-1] if lines else ""
