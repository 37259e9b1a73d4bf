"""From what a soak has seen to what is wrong with it. Pure: nothing is asked or measured here."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from supervisor.master.master import BackOff
from tests.benchmarks.soak_clients import Failure

# Requests that a dead child may have had in hand: one, but the engine of `web` takes as many
# connections as come. Not more clients than this ask there.
IN_HAND: Final = {"tcp": 1, "udp": 1, "web": 3, "status": 1, "beat": 0}
HEARD_LATE: Final = 2.0  # s between a death and the moment a client on a busy machine sees it
DOUBT: Final = 0.05  # s around the limits of the back-off where either is right
MEBI: Final = 1_048_576
GROWTH: Final = 4 * MEBI  # of the master's memory, beyond the first look
SIGNED: Final = re.compile(r"^(\S+Z) (\w+) (\S+) (.*)$")
FACT: Final = re.compile(r"(\w+)=(\S+)")


class Entry(NamedTuple):
    """One log entry's first line. `at` in seconds since 1970."""

    at: float
    level: str
    subject: str
    message: str

    @property
    def facts(self) -> dict[str, str]:
        return dict(FACT.findall(self.message))


class Kill(NamedTuple):
    """What was done to whom; monotonic seconds. `gone_at`: the death was in the log by then."""

    cause: str
    section: str
    pid: int
    at: float
    gone_at: float


class Vitals(NamedTuple):
    """What of the master and its directory must not grow."""

    descriptors: Mapping[str, int]  # what they are -> how many
    threads: int
    files: frozenset[str]
    rss: int
    pss: int


def entries(lines: Iterable[str]) -> Iterator[Entry]:
    """The entries in lines of a log; what continues one is left out."""
    for line in lines:
        if found := SIGNED.match(line):
            at = datetime.fromisoformat(found[1]).timestamp()
            yield Entry(at, found[2], found[3], found[4])


def unexplained(failures: Iterable[Failure], kills: Sequence[Kill]) -> list[str]:
    """The failures that no kill accounts for: each kill takes along what its child had in hand."""
    left = {kill: IN_HAND[kill.section] for kill in kills}
    found = []
    for failure in sorted(failures, key=lambda one: one.failed_at):
        kill = next((one for one in left if left[one] and _explains(one, failure)), None)
        if kill is None:
            found.append(f"unexplained: {failure.section} {failure.what}, {_after(failure, kills)}")
        else:
            left[kill] -= 1
    return found


def _after(failure: Failure, kills: Sequence[Kill]) -> str:
    """Where a failure lies: who was killed last before it, and how much earlier."""
    took = f"it took {failure.failed_at - failure.began_at:.3f} s"
    before = [kill for kill in kills if kill.at <= failure.failed_at]
    if not before:
        return f"{took}, before any kill"
    kill = before[-1]
    later, gone = failure.failed_at - kill.at, kill.gone_at - kill.at
    return (
        f"{took} until {later:.3f} s after {kill.cause} to {kill.section} pid {kill.pid} "
        f"(dead within {gone:.3f} s)"
    )


def _explains(kill: Kill, failure: Failure) -> bool:
    if failure.section != kill.section or failure.pid not in (0, kill.pid):
        return False
    if failure.what in ("refused", "stuck") or failure.what.startswith("wrong"):
        return False
    was_in_hand = failure.began_at <= kill.gone_at and kill.at <= failure.failed_at
    # Nobody hears of the loss of a datagram; who waits for it gives up much later.
    return was_in_hand and (
        failure.what == "lost" or failure.failed_at <= kill.gone_at + HEARD_LATE
    )


def grown(first: Vitals, now: Vitals) -> dict[str, str]:
    """What is not as it was at the first look, and how."""
    descriptors = {
        kind: (first.descriptors.get(kind, 0), now.descriptors.get(kind, 0))
        for kind in sorted({*first.descriptors, *now.descriptors})
    }
    pairs = {f"descriptors of {kind}": counts for kind, counts in descriptors.items()}
    pairs |= {"threads": (first.threads, now.threads)}
    pairs |= {
        name: (int(name in first.files), int(name in now.files)) for name in first.files ^ now.files
    }
    found = {what: f"{what}: {a} at first, now {b}" for what, (a, b) in pairs.items() if a != b}
    for what in ("rss", "pss"):
        a, b = getattr(first, what), getattr(now, what)
        if b > a + GROWTH:
            found[what] = f"{what} of the master: {a / MEBI:.1f} MiB at first, now {b / MEBI:.1f}"
    return found


def follow(possible: set[BackOff], ready_for: float, wait: float) -> set[BackOff]:
    """The back-offs that the server may be in after it waited so long; empty when that was wrong.

    Near a limit either side is right: the log tells milliseconds, the server knows more.
    """
    near = (ready_for - DOUBT, ready_for + DOUBT)
    reached = {before.after(seconds) for before in possible for seconds in near}
    return {one for one in reached if abs(one.wait - wait) < 1e-3}
