"""The statistics as records. Their names are the contract of `stats --json` and `status --json`.

Durations in seconds, points in time in seconds since 1970, sizes in bytes.
"""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

from supervisor.scoreboard.records import Crash, Incident, Report
from supervisor.system.observe import Usage


class Totals(Struct, frozen=True):
    """Sums over all children."""

    requests: int = 0
    errors: int = 0
    active: int = 0
    busy_seconds: float = 0.0


class Listening(Struct, frozen=True):
    """A listener: what waits there now, null where the kernel does not tell."""

    address: str
    queued: int | None
    backlog: int


class Latency(Struct, frozen=True):
    """Of all finished requests; zero without any."""

    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    max: float = 0.0


class Worker(Struct, frozen=True, kw_only=True):
    """A worker section."""

    name: str
    type: str
    listen: tuple[Listening, ...]
    children: int
    requests: int
    errors: int
    active: int
    latency: Latency


class Child(Struct, frozen=True, kw_only=True):
    """A living child."""

    slot: int
    worker: str
    pid: int
    state: str
    requests: int
    errors: int
    active: int
    busy_seconds: float
    cpu_seconds: float
    rss_bytes: int
    pss_bytes: int
    uptime: float


class Draining(Struct, frozen=True):
    """An older generation with requests in hand. `pid`: its master's."""

    generation: int
    pid: int
    active: int


class Statistics(Struct, frozen=True, kw_only=True):
    """`stats --json`."""

    name: str
    pid: int
    state: str
    generation: int
    started_at: float
    uptime: float
    totals: Totals
    workers: tuple[Worker, ...]
    children: tuple[Child, ...]
    draining: tuple[Draining, ...]
    crashes: tuple[Crash, ...]
    counters: dict[str, int]
    last_crash: Crash | None


class Status(Struct, frozen=True, kw_only=True):
    """`status --json`. `reason`: why it is not ready; absent where it is."""

    running: bool
    pid: int = 0
    state: str = "starting"
    generation: int = 0
    uptime: float = 0.0
    children: int = 0
    ready_children: int = 0
    reason: str | UnsetType = UNSET


# What the live views need beyond the contract.


class LiveWorker(Worker, frozen=True, kw_only=True):
    """`histogram`: (latency in s, count) of the buckets that hold something."""

    busy_seconds: float
    responses: dict[str, int]
    latency_sum: float
    histogram: tuple[tuple[float, int], ...]


class LiveChild(Child, frozen=True, kw_only=True):
    """`since`: s in its state; `in_hand`: the requests that it names, oldest first, as
    (name, s, id).
    """

    ready: bool
    latency_sum: float
    histogram: tuple[tuple[float, int], ...]
    since: float
    connections: int
    streams: int
    in_hand: tuple[tuple[str, float, str], ...]

    @property
    def request(self) -> str:
        """The oldest request that it names, or ""."""
        return self.in_hand[0][0] if self.in_hand else ""


class LiveStatistics(Statistics, frozen=True, kw_only=True):
    """All facts of one look. `at` on the wall clock, `monotonic` on the clock that durations are
    of; `reason`: why it is not ready, or ""; `forced`: children that needed SIGKILL to stop.
    """

    at: float
    monotonic: float
    ready: bool
    reason: str
    forced: int
    master: Usage
    workers: tuple[LiveWorker, ...]
    children: tuple[LiveChild, ...]
    crashes: tuple[Report, ...]
    last_crash: Report | None
    draining_children: int
    incidents: tuple[Incident, ...]
    deaths: tuple[tuple[str, str, int], ...]
