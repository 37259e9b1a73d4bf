"""All that a successor begins with, from what its predecessor has booted."""

from __future__ import annotations

import os

from supervisor.master.booted import Booted
from supervisor.master.succession.messages import Bequeathed, Bequest
from supervisor.master.succession.predecessor import configured
from supervisor.system.listeners import Listener


def listeners_of(booted: Booted) -> list[tuple[str, int, Listener]]:
    """Each with its section and its place there; the order is that of the bequest."""
    return [
        (section, place, listener)
        for section, listeners in booted.listeners.items()
        for place, listener in enumerate(listeners)
    ]


def bequest_of(
    booted: Booted,
    generation: int,
    settings: tuple[str, ...],
    timeout: float | None,
    *,
    has_exclusive: bool,
) -> Bequest:
    """For the successor whose first generation has that number."""
    entries = {one.name: one.listen for one in booted.config.workers}
    return Bequest(
        name=booted.config.name,
        predecessor=os.getpid(),
        generation=generation,
        first=booted.first,
        started_at=(booted.started_at.wall, booted.started_at.monotonic),
        runtime=str(booted.runtime.path),
        configured=configured(booted.config.master.runtime_directory),
        is_made=booted.runtime.claim.made,
        has_exclusive=has_exclusive,
        settings=settings,
        timeout=timeout,
        listeners=tuple(
            Bequeathed(entries[section][place].address, one.address, section, one.inherited)
            for section, place, one in listeners_of(booted)
        ),
    )
