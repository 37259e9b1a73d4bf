"""From what a soak has seen to what is wrong with it. Pure: nothing is asked or measured here."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from tests.benchmarks.soak.clients import Failure

# Requests that a dead child may have had in hand: one, but `web` and `asgi` take as many
# connections as come. Not more clients than this ask there.
IN_HAND: Final = {"tcp": 1, "udp": 1, "web": 3, "status": 1, "asgi": 6, "beat": 0}
HEARD_LATE: Final = 2.0  # s between a death and the moment a client on a busy machine sees it
MEBI: Final = 1_048_576
GROWTH: Final = 4 * MEBI  # of the master's memory, beyond the first look
SIGNED: Final = re.compile(r"^\S+Z (\w+) (\S+) (.*)$")
FACT: Final = re.compile(r"(\w+)=(\S+)")


class Entry(NamedTuple):
    """One log entry's first line."""

    level: str
    subject: str
    message: str

    @property
    def facts(self) -> dict[str, str]:
        return dict(FACT.findall(self.message))


class Kill(NamedTuple):
    """A process that was killed; monotonic seconds. `gone_at`: the death was in the log by then."""

    cause: str
    section: str
    pid: int
    at: float
    gone_at: float


def entries(lines: Iterable[str]) -> Iterator[Entry]:
    """The entries in lines of a log; what continues one is left out."""
    return (Entry(*found.groups()) for line in lines if (found := SIGNED.match(line)))


def unexplained(failures: Iterable[Failure], kills: Sequence[Kill]) -> list[str]:
    """The failures that no kill accounts for: each kill takes along what its child had in hand."""
    left = {kill: IN_HAND[kill.section] for kill in kills}
    found = []
    for failure in sorted(failures, key=lambda one: one.failed_at):
        kill = next((one for one in left if left[one] and _explains(one, failure)), None)
        if kill is None:
            before = [kill for kill in kills if kill.at <= failure.failed_at]
            found.append(f"unexplained: {failure}, the last kill before it: {before[-1:]}")
        else:
            left[kill] -= 1
    return found


def _explains(kill: Kill, failure: Failure) -> bool:
    if failure.section != kill.section or failure.pid not in (0, kill.pid):
        return False
    if failure.what in ("refused", "stuck") or failure.what.startswith("wrong"):
        return False
    was_in_hand = failure.began_at <= kill.gone_at and kill.at <= failure.failed_at
    # Nobody hears of the loss of a datagram; who waits for it gives up much later.
    in_time = failure.what == "lost" or failure.failed_at <= kill.gone_at + HEARD_LATE
    return was_in_hand and in_time


def grown(first: Mapping[str, int], now: Mapping[str, int]) -> dict[str, str]:
    """A sentence for each vital sign that differs from the first look; bytes may grow a little."""
    pairs = {what: (first.get(what, 0), now.get(what, 0)) for what in sorted({*first, *now})}
    return {
        what: f"{what} of the master: {a} at first, now {b}"
        for what, (a, b) in pairs.items()
        if (b > a + GROWTH if what.endswith("bytes") else a != b)
    }
