"""What the master gives to each generation, and what a generation tells it in the end."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from typing import Any, NamedTuple

from supervisor.child.registry import Loaded, LoadedSection
from supervisor.config.schema import Config
from supervisor.errors import Exit
from supervisor.master.daemon import Launcher
from supervisor.system import signals
from supervisor.system.listeners import Listener
from supervisor.system.notify import Notifier
from supervisor.system.resources import Resources
from supervisor.system.runtime import RuntimeDirectory
from supervisor.system.signals import SignalRecorder
from supervisor.system.terminal import ProcessGroup


class Cause(NamedTuple):
    """Why a generation ended. `signum` where a signal ended it, `message` for who started it."""

    reason: str
    status: Exit = Exit.OK
    signum: signal.Signals | None = None
    message: str = ""


def signal_cause(taken: Iterable[signal.Signals]) -> Cause | None:
    """The cause in one turn's signals. It precedes the turn's deaths: exits beside it are
    consequences.
    """
    for number in taken:
        if number in signals.TERMINATIONS:
            return Cause(number.name, signum=number)
    return None


def as_start_failure(cause: Cause) -> Cause:
    """The same, before all were ready: whatever it was, the start has failed; unless we were told
    to stop.
    """
    if cause.signum is not None:
        return cause
    return cause._replace(reason="start-failure", status=Exit.START_FAILED)


class Frame(NamedTuple):
    """What all generations share; made by the master, before the first."""

    config: Config
    loaded: Loaded
    listeners: dict[str, tuple[Listener, ...]]  # by section
    runtime: RuntimeDirectory
    resources: Resources
    signals: SignalRecorder
    group: ProcessGroup
    started_at: int  # ns since 1970
    private: tuple[int, ...]  # descriptors that no child may keep
    strangers: frozenset[int]  # children of this process before it was ours
    notifier: Notifier
    launcher: Launcher | None  # who waits for readiness, under --daemon

    def describe(self) -> dict[str, Any]:
        """What the words of the scoreboard mean, for readers."""
        return {
            "name": self.config.name,
            "workers": [
                {
                    "name": loaded.section.name,
                    "type": loaded.section.common.type,
                    "children": loaded.children,
                    "backlog": loaded.section.common.backlog,
                    "listen": [str(one.address) for one in self.listeners[loaded.section.name]],
                }
                for loaded in self.loaded.sections
            ],
            "counters": self.loaded.shared.counters,
            "locks": list(self.loaded.shared.locks),
        }


class Slot(NamedTuple):
    """What the master decides about a child before its fork. `black_box` is a memfd."""

    number: int
    rank: int
    section: LoadedSection
    black_box: int

    @property
    def name(self) -> str:
        """The section's name."""
        return self.section.section.name


def plan(sections: Iterable[LoadedSection]) -> list[Slot]:
    """Slots in file order. The black boxes come one after another, so they are few ranges."""
    places = [(section, rank) for section in sections for rank in range(section.children)]
    return [
        Slot(number, rank, section, os.memfd_create(f"black-box-{number}"))
        for number, (section, rank) in enumerate(places)
    ]
