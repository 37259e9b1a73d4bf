"""The plan of a run: its steps in their order, each of which is one life of one contender."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, NamedTuple

from tests.benchmarks.contenders import ANSWERS_HTTP, CONTENDERS, Contender
from tests.benchmarks.measures.crash import again, crash, in_hand
from tests.benchmarks.measures.generations import lives, never, renewals, row
from tests.benchmarks.measures.lives import graceful_stop, life, master_killed, standing
from tests.benchmarks.measures.load import cost, datagrams, throughput

WEB: Final = ("wsgi", "asgi")
UDP: Final = ("udp echo", "udp sip")
ALL: Final = (*ANSWERS_HTTP, "programs")


class Group(NamedTuple):
    """One run: these measures, of the contenders of these families and sides."""

    families: Sequence[str]
    sides: Sequence[str]
    measures: Sequence[str]


OURS: Final = ("start", "standing", "throughput", "again", "datagrams", "cost")
LIFE: Final = ("in hand", "crash", "never", "row", "renewals", "lives", "idle")
THEIRS: Final = ("start", "standing", "throughput", "crash", "in hand", "master", "graceful")
GROUPS: Final = {
    "floor": Group(("tcp", *UDP, "programs", "statistics"), ("ours", "floor"), OURS),
    "scale": Group(("tcp",), ("ours", "floor"), ("start", "again", "scale")),
    "life": Group((*WEB, "tcp", "udp echo", "no Python"), ("ours", "floor", "peer"), LIFE),
    "peers": Group((*WEB, "programs", "no Python"), ("ours", "floor", "peer"), THEIRS),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One life, of each contender of these families, so many times; of peers maybe fewer times.

    `seconds` is how long what is measured lasts; `expected` what a life takes in all, on average.
    """

    measure: str
    name: str
    life: Callable[[Contender, int, float], dict[str, float]]
    children: int
    seconds: float
    rounds: int
    of_peers: int
    expected: float
    families: Sequence[str]
    sides: Sequence[str] = ("ours", "floor", "peer")

    def contenders(self, group: Group) -> list[Contender]:
        families = {*self.families} & {*group.families}
        sides = {*self.sides} & {*group.sides}
        there = [one for one in CONTENDERS if one.family in families and one.side in sides]
        wanted = [one for one in there if not one.only or self.measure in one.only]
        return [one for one in wanted if one.program()]

    def rounds_of(self, contender: Contender) -> int:
        return min(self.rounds, self.of_peers) if contender.side == "peer" else self.rounds


OURS_ONLY: Final = ("ours",)
RENEWED: Final = (*WEB, "tcp", "udp echo")
row_of_500: Final = partial(row, crashes=500)
CASES: Final = (
    Case("start", "start 4", life, 4, 0.5, 7, 7, 1.4, ALL),
    Case("start", "start 128", life, 128, 0.5, 7, 3, 4.0, ALL),
    Case("standing", "standing", standing, 32, 10.0, 3, 2, 14.0, ALL),
    Case("throughput", "throughput", throughput, 2, 2.0, 7, 5, 5.7, ANSWERS_HTTP),
    *(
        Case("crash", f"crash every {every:g} s", partial(crash, every=every), *rest)
        for every in (0.2, 1.0, 2.0)
        for rest in [(4, 10.0, 3, 2, 11.7, (*WEB, "no Python"))]
    ),
    Case("in hand", "in hand", in_hand, 4, 1.0, 20, 3, 7.0, WEB),
    Case("never", "never", never, 4, 0.0, 5, 5, 4.5, WEB, OURS_ONLY),
    Case("row", "row", row_of_500, 4, 280.0, 1, 1, 200.0, ("asgi", "tcp"), OURS_ONLY),
    Case("renewals", "renewals", renewals, 4, 35.0, 1, 1, 70.0, RENEWED, OURS_ONLY),
    Case("lives", "lives 4", lives, 4, 0.0, 7, 7, 3.0, ("tcp",)),
    Case("lives", "lives 128", lives, 128, 0.0, 7, 7, 6.0, ("tcp",)),
    Case("idle", "idle", standing, 32, 10.0, 1, 1, 14.0, (*WEB, "tcp"), ("ours", "floor")),
    # Some look only every 15 s whether their master lives.
    Case("master", "master killed", master_killed, 4, 16.0, 2, 2, 12.5, ALL),
    Case("graceful", "graceful wsgi", graceful_stop, 20, 0.5, 3, 3, 3.0, ("wsgi",)),
    Case("graceful", "graceful asgi", graceful_stop, 2, 0.5, 3, 3, 3.0, ("asgi",)),
    Case("again", "again 4", again, 4, 0.0, 9, 9, 3.0, ("tcp",)),
    Case("again", "again 128", again, 128, 0.0, 9, 9, 5.0, ("tcp",)),
    Case("datagrams", "datagrams", datagrams, 2, 1.0, 9, 9, 1.5, UDP),
    Case("cost", "cost", cost, 1, 40.0, 3, 3, 3.0, ("statistics",)),
    *(Case("scale", f"start {n}", life, n, 0.5, 3, 3, 2 + n / 200, ("tcp",)) for n in (32, 500)),
    *(Case("scale", f"again {n}", again, n, 0.0, 3, 3, 3 + n / 60, ("tcp",)) for n in (32, 500)),
    Case("scale", "start 1000", life, 1000, 0.5, 3, 3, 6.0, ("tcp",)),
    Case("scale", "again 1000", again, 1000, 0.0, 3, 3, 15.0, ("tcp",)),
)
MEASURES: Final = tuple(dict.fromkeys(case.measure for case in CASES))


def quick(case: Case) -> Case:
    """For a smoke run: once, short, of few."""
    few, seconds = min(case.children, 8), min(case.seconds, 2.0)
    less = min(case.expected, 1.7 + seconds)
    return replace(case, children=few, seconds=seconds, rounds=1, of_peers=1, expected=less)


class Step(NamedTuple):
    """One life of one contender."""

    case: Case
    round: int
    contender: Contender
    is_first: bool

    def run(self) -> dict[str, float]:
        return self.case.life(self.contender, self.case.children, self.case.seconds)


def steps_of(case: Case, group: Group) -> Iterator[Step]:
    """Everybody in turns; each round is begun by another one."""
    for number in range(case.rounds):
        taking_part = [one for one in case.contenders(group) if number < case.rounds_of(one)]
        first = number % max(len(taking_part), 1)
        for turn, contender in enumerate(taking_part[first:] + taking_part[:first]):
            yield Step(case, number, contender, is_first=number == turn == 0)


def chosen(group: Group, *, smoke: bool, only: Sequence[str], rounds: int | None) -> list[Case]:
    """The cases of a run; what needs a program that is not there is not among them."""
    return [
        quick(case) if smoke else replace(case, rounds=rounds or case.rounds)
        for case in CASES
        if case.measure in (only or group.measures)
        and case.measure not in cannot_run()
        and (case.children <= 32 or not smoke)
    ]


def cannot_run() -> dict[str, str]:
    """Why a measure cannot be taken here, by its name."""
    return {} if shutil.which("wrk") else {"throughput": "wrk is not installed"}
