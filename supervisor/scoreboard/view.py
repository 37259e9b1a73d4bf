"""One row of a scoreboard as properties, for readers. A child that went wild may have written
anything: what cannot be true reads as zero, as dead, or as no text.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from supervisor.scoreboard import layout
from supervisor.scoreboard.layout import LIVING, State, unpack_state

_MOST_PIDS: Final = 1 << 22  # PID_MAX_LIMIT, proc(5)
_MOST: Final = 1 << 53  # what a program that reads our JSON keeps exactly
_LONGEST: Final = 1 << 62  # ns


def count(word: int) -> int:
    """A number of things, 0 where no server can have counted so far."""
    return word if word < _MOST else 0


def nanoseconds(word: int) -> int:
    """A duration or an instant, 0 where no server can have run so long."""
    return word if word < _LONGEST else 0


def elapsed(since: int, now: int) -> float:
    """Seconds between two monotonic instants in ns, of which the first may make no sense."""
    return max(0, now - since) / 1e9


class InHand(NamedTuple):
    """A request that a child has in hand. `since`: monotonic ns; `id` may be empty."""

    since: int
    name: str
    id: str

    def told(self, now: int) -> str:
        """`GET /cart 0.520s id=7f3a` at `now` (monotonic ns)."""
        told = f"{self.name} {elapsed(self.since, now):.3f}s"
        return f"{told} id={self.id}" if self.id else told


class RowView:
    """The facts of one slot, or of the master. `words`: STRIDE words, copied or live."""

    __slots__ = ("_words",)

    def __init__(self, words: memoryview) -> None:
        self._words = words

    @property
    def pid(self) -> int:
        """0 before its process wrote it down."""
        pid = self._words[layout.PID]
        return pid if pid < _MOST_PIDS else 0

    @property
    def state(self) -> State:
        """Its state."""
        return unpack_state(self._words[layout.STATE])[0]

    @property
    def state_since(self) -> int:
        """Since when, monotonic ns."""
        return unpack_state(self._words[layout.STATE])[1]

    @property
    def lives(self) -> bool:
        """True for what is not dead, finished, or not forked yet."""
        return self.state in LIVING

    @property
    def is_ready(self) -> bool:
        """True once it has become ready."""
        return self._words[layout.READY_AT] != 0

    @property
    def started_at(self) -> int:
        """The fork, monotonic ns."""
        return self._words[layout.STARTED_AT]

    @property
    def requests(self) -> int:
        """Finished."""
        return count(self._words[layout.REQUESTS])

    @property
    def errors(self) -> int:
        """Finished with an error."""
        return count(self._words[layout.ERRORS])

    @property
    def active(self) -> int:
        """In hand."""
        return count(self._words[layout.ACTIVE])

    @property
    def connections(self) -> int:
        """Open."""
        return count(self._words[layout.CONNECTIONS])

    @property
    def streams(self) -> int:
        """Of those in hand, the ones whose answer goes on for long."""
        return count(self._words[layout.STREAMS])

    @property
    def responses(self) -> list[int]:
        """Answers with a status of 1xx, 2xx, ... 5xx."""
        start = layout.RESPONSES
        return [count(word) for word in self._words[start : start + layout.CODE_CLASSES]]

    def busy(self, now: int) -> float:
        """Seconds with a request in hand, until `now` (monotonic ns)."""
        words = self._words
        since = words[layout.BUSY_SINCE] if words[layout.ACTIVE] else now
        return nanoseconds(words[layout.BUSY]) / 1e9 + elapsed(since, now)

    @property
    def lock(self) -> int:
        """The number of the lock that it says it holds, 0 = none."""
        return self._words[layout.LOCK]

    @property
    def latency_sum(self) -> int:
        """Of all finished requests, ns."""
        return nanoseconds(self._words[layout.LATENCY_SUM])

    @property
    def latency_max(self) -> int:
        """Of all finished requests, ns."""
        return nanoseconds(self._words[layout.LATENCY_MAX])

    @property
    def histogram(self) -> list[int]:
        """Finished requests by bucket of latency."""
        start = layout.HISTOGRAM
        return [count(word) for word in self._words[start : start + layout.BUCKETS]]

    def counter(self, word: int) -> int:
        """The number in the word of a counter."""
        return count(self._words[word])

    def in_hand(self) -> list[InHand]:
        """The requests in hand that are named, oldest first."""
        start = layout.NAMES
        places = range(start, start + layout.PLACES * layout.PLACE, layout.PLACE)
        taken = [place for place in places if self._words[place + layout.P_BEGUN_AT]]
        return sorted(map(self._in_hand, taken))

    def _in_hand(self, place: int) -> InHand:
        name, request_id, begun = layout.NAMED.unpack(self._words[place : place + layout.PLACE])
        return InHand(begun, _text(name), _text(request_id))


def printable(text: str) -> str:
    """Text that a client may have chosen, without what a terminal would obey."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def _text(data: bytes) -> str:
    return printable(data.decode("utf-8", "replace"))
