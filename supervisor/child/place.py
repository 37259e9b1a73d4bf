"""Where a child stands in its server: decided by the master, before the fork."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from supervisor.child.renewal import Limits
from supervisor.system.listeners import Listener


class Place(NamedTuple):
    """Everything that the master decides about a child before the fork. Times in seconds."""

    server: str
    section: str
    slot: int
    rank: int
    generation: int
    master: int  # pid
    listeners: tuple[Listener, ...]
    stop_timeout: float
    request_timeout: float
    runtime: Path  # the runtime directory
    tempdir: Path
    ready: int  # descriptor of the pipe that tells the master the news of this child
    limits: Limits  # of this child's requests and memory, for the renewal of its generation
    is_watched: bool  # a Watch tells the master when this child is ready
    black_box: int  # descriptor
    drop_foreign: Callable[[], None]  # closes what belongs to the master or to other children
    group_is_ours: bool
