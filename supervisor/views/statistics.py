"""From a copy of the scoreboard to the statistics: records, with what the kernel says beside it.

Reads only: the copy, and /proc. The master takes no part.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import msgspec

from supervisor.scoreboard.layout import ServerState, State
from supervisor.scoreboard.reader import Slot, Snapshot
from supervisor.scoreboard.records import Section
from supervisor.scoreboard.view import RowView, elapsed
from supervisor.system import clock, observe
from supervisor.system.observe import Usage
from supervisor.views.latency import histogram_of, latency_of
from supervisor.views.records import (
    Draining,
    Listening,
    LiveChild,
    LiveStatistics,
    LiveWorker,
    Statistics,
    Status,
    Totals,
)


def of(
    snapshot: Snapshot,
    sample_for: float = math.inf,
    *,
    with_pss: bool = True,
    per_child: bool = False,
) -> LiveStatistics:
    """Everything about a server.

    The kernel is asked about CPU and memory of its children for at most `sample_for` seconds; those
    that it was not asked about have zeros. Each child has a histogram of its own only if
    `per_child`.
    """
    now = time.monotonic_ns()
    sample_by = now / 1e9 + sample_for
    described, history = snapshot.description, snapshot.history
    reason = why_not_ready(snapshot)
    return LiveStatistics(
        name=described.name,
        pid=snapshot.pid,
        state=snapshot.state.name.lower(),
        generation=snapshot.generation,
        started_at=snapshot.started_at,
        uptime=elapsed(snapshot.begun_at, now),
        totals=totals(snapshot),
        workers=tuple(_worker(section, snapshot, now) for section in described.workers),
        children=tuple(
            _child(slot, now, _usage_of(slot.row.pid, with_pss, sample_by), per_child)
            for slot in snapshot.slots
            if slot.row.lives
        ),
        draining=tuple(Draining(*one[:3]) for one in snapshot.drains()),
        draining_children=sum(one.children for one in snapshot.drains()),
        crashes=history.crashes,
        counters=counters(snapshot),
        last_crash=history.crashes[0] if history.crashes else None,
        at=clock.wall_clock() / 1e9,
        monotonic=now / 1e9,
        ready=not reason,
        reason=reason,
        forced=snapshot.forced,
        master=observe.usage_of(snapshot.pid, with_pss),
        incidents=history.incidents,
        deaths=tuple((one.worker, one.cause, one.count) for one in history.deaths),
    )


def contract(live: LiveStatistics) -> Statistics:
    """The part of the facts that `stats --json` promises."""
    return msgspec.convert(live, Statistics, from_attributes=True)


def status(snapshot: Snapshot) -> Status:
    """The facts that `status --json` prints of a running server."""
    return Status(
        running=True,
        pid=snapshot.pid,
        state=snapshot.state.name.lower(),
        generation=snapshot.generation,
        uptime=elapsed(snapshot.begun_at, time.monotonic_ns()),
        children=sum(slot.row.state is not State.EMPTY for slot in snapshot.slots),
        ready_children=sum(not _fault_of(slot) for slot in snapshot.slots if slot.row.lives),
        reason=why_not_ready(snapshot) or msgspec.UNSET,
    )


def why_not_ready(snapshot: Snapshot) -> str:
    """The reason why the server is not ready, "" where it is: it runs, and every child has become
    ready and lives, or has finished.
    """
    if not observe.is_alive(snapshot.pid):
        return "the master is dead"
    if observe.is_frozen(snapshot.pid):
        return "master frozen"
    if snapshot.state is not ServerState.RUNNING:
        return snapshot.state.name.lower()
    if snapshot.is_draining:
        return "about to stop"
    faults = filter(None, map(_fault_of, snapshot.slots))
    return next(faults, "")


def _fault_of(slot: Slot) -> str:
    """Why one child keeps the server from being ready, or ""."""
    row, name = slot.row, f"{slot.worker}/{slot.number}"
    if row.state in (State.EMPTY, State.FINISHED):
        return ""
    if row.lives and not row.is_ready:
        return f"{name} is not ready"
    if not row.lives or not observe.is_alive(row.pid):
        return f"{name} is dead"
    return f"{name} is stopping" if row.state is State.STOPPING else ""


def counters(snapshot: Snapshot) -> dict[str, int]:
    """Every declared counter, summed over the master and all children."""
    rows = [snapshot.master, *(slot.row for slot in snapshot.slots)]
    return {
        name: sum(row.counter(word) for row in rows)
        for name, word in snapshot.description.counters.items()
    }


def totals(snapshot: Snapshot) -> Totals:
    """The sums over all children."""
    return _sums([slot.row for slot in snapshot.slots], time.monotonic_ns())


def _sums(rows: Sequence[RowView], now: int) -> Totals:
    return Totals(
        sum(row.requests for row in rows),
        sum(row.errors for row in rows),
        sum(row.active for row in rows),
        sum(row.busy(now) for row in rows),
    )


def _worker(section: Section, snapshot: Snapshot, now: int) -> LiveWorker:
    rows = snapshot.rows_of(section.name)
    sums, histogram = _sums(rows, now), histogram_of(rows)
    responses = map(sum, zip(*(row.responses for row in rows), strict=True))
    return LiveWorker(
        name=section.name,
        type=section.type,
        listen=tuple(
            Listening(str(one), observe.queued(one, snapshot.pid), section.backlog)
            for one in section.listen
        ),
        children=section.children,
        requests=sums.requests,
        errors=sums.errors,
        active=sums.active,
        latency=latency_of(histogram, max(row.latency_max for row in rows) / 1e9),
        busy_seconds=sums.busy_seconds,
        responses={f"{number}xx": n for number, n in enumerate(responses, 1)},
        latency_sum=sum(row.latency_sum for row in rows) / 1e9,
        histogram=tuple(histogram),
    )


def _usage_of(pid: int, with_pss: bool, sample_by: float) -> Usage:
    in_time = time.monotonic() <= sample_by
    return observe.usage_of(pid, with_pss) if in_time else Usage()


def _child(slot: Slot, now: int, usage: Usage, per_child: bool) -> LiveChild:
    row = slot.row
    return LiveChild(
        slot=slot.number,
        worker=slot.worker,
        pid=row.pid,
        state="frozen" if usage.is_frozen else row.state.name.lower(),
        requests=row.requests,
        errors=row.errors,
        active=row.active,
        busy_seconds=row.busy(now),
        cpu_seconds=usage.cpu_seconds,
        rss_bytes=usage.rss_bytes,
        pss_bytes=usage.pss_bytes,
        uptime=elapsed(row.started_at, now),
        ready=row.is_ready,
        latency_sum=row.latency_sum / 1e9,
        histogram=tuple(histogram_of([row])) if per_child else (),
        since=elapsed(row.state_since, now),
        connections=row.connections,
        streams=row.streams,
        in_hand=tuple((one.name, elapsed(one.since, now), one.id) for one in row.in_hand()),
    )
