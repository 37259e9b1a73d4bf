"""The booted server: handed from boot to the loop, and shared by all generations."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from supervisor.child.registry import Loaded, LoadedSection
from supervisor.child.renewal import jittered
from supervisor.child.shared import Shared
from supervisor.child.worker import Worker
from supervisor.config.schema import Config
from supervisor.master.daemon import Launcher
from supervisor.master.guard import Guard
from supervisor.master.policy import Policy
from supervisor.master.succession.predecessor import Start
from supervisor.scoreboard.records import Description, Section
from supervisor.system.clock import Instant
from supervisor.system.listeners import Listener
from supervisor.system.notify import Notifier
from supervisor.system.pid_file import PidFile
from supervisor.system.recorder import SignalRecorder
from supervisor.system.resources import Resources
from supervisor.system.runtime import RuntimeDirectory, file_of
from supervisor.system.terminal import ProcessGroup

Greeting = Callable[["Booted"], None]


def no_greeting(booted: Booted) -> None:
    """Say nothing."""


class Booted(NamedTuple):
    """Made once, before the first generation."""

    config: Config
    loaded: Loaded
    listeners: dict[str, tuple[Listener, ...]]  # by section
    runtime: RuntimeDirectory
    resources: Resources
    signals: SignalRecorder
    group: ProcessGroup
    started_at: Instant
    start_by: float  # monotonic s: the first generation must be ready
    private: list[Callable[[], Iterable[int]]]  # tell the descriptors that no child may keep
    strangers: frozenset[int]  # children of this process before it was ours
    guard: Guard
    descriptor_limit: int  # soft, as it was at the start; the children get it back
    notifier: Notifier
    launcher: Launcher | None  # who waits for readiness, under --daemon
    greet: Greeting  # called when the first generation is ready
    start: Start
    pid_file: PidFile | None
    first: int  # pid of the process that stays as the parent of all masters, 0 for none

    @property
    def refuses(self) -> bool:
        """True where a closed door refuses new connections, false where it is silent: as pid 1 a
        dropped SYN would be sent again to the same container.
        """
        door = self.config.master.door
        return door == "refuse" or (door == "auto" and 1 in (os.getpid(), self.first))

    def file(self, name: str) -> Path:
        """Register a file in the runtime directory that lasts as long as this process."""
        return self.resources.add_path(file_of(self.runtime.path, name, os.getpid()))

    @property
    def spared(self) -> frozenset[int]:
        """Children of this process that belong to no generation."""
        return self.strangers | self.guard.pids

    def policy(self) -> Policy:
        """The configuration of generations; each draws the age at which it is renewed."""
        master, every = self.config.master, self.config.master.renew.every

        def age() -> float:
            return jittered(every) if every else float("inf")

        return Policy(
            restarts=master.restart == "on-crash",
            start_timeout=master.start_timeout,
            stop_timeout=master.stop_timeout,
            crash_timeout=master.crash_timeout,
            drain_delay=master.drain_delay,
            is_exclusive=any(one.kind.exclusive for one in self.loaded.modules),
            renew_after=age,
        )

    def describe(self, shared: Shared) -> Description:
        """The meaning of the words of a generation's scoreboard, for readers."""
        sections = (
            Section(
                name=loaded.section.name,
                type=loaded.section.common.type,
                children=loaded.children,
                backlog=loaded.section.common.backlog,
                listen=tuple(one.address for one in self.listeners[loaded.section.name]),
            )
            for loaded in self.loaded.sections
        )
        return Description(self.config.name, tuple(sections), shared.counters, tuple(shared.locks))


class Slot(NamedTuple):
    """The master's decisions about a child before its fork."""

    number: int
    rank: int  # in its section
    section: str
    type: str
    worker: Worker
    request_timeout: float  # s, 0 = none

    @property
    def is_exclusive(self) -> bool:
        """True where two of it must never live at the same time."""
        return self.worker.exclusive


def slots_of(sections: Iterable[LoadedSection]) -> tuple[Slot, ...]:
    """All slots, in the order of the file."""
    places = [(section, rank) for section in sections for rank in range(section.children)]
    return tuple(
        Slot(
            number,
            rank,
            loaded.section.name,
            loaded.section.common.type,
            loaded.worker,
            loaded.section.common.request_timeout,
        )
        for number, (loaded, rank) in enumerate(places)
    )
