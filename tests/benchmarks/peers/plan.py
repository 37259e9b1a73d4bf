"""What is measured, of whom and how often: the steps of a run, in their order."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from tests.benchmarks.peers import crash, lives, standing, throughput
from tests.benchmarks.peers.contenders import CONTENDERS, Contender, missing

Life = Callable[[Contender, int, float], dict[str, float]]
EVERYBODY = ("wsgi", "asgi", "programs", "floor")
SERVERS = ("wsgi", "asgi", "floor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One life, of each contender of these families, so many times.

    `seconds` is how long what is measured lasts; `expected` what a life takes in all, on average.
    """

    measure: str
    name: str
    life: Life
    children: int
    seconds: float
    rounds: int
    expected: float
    families: Sequence[str] = EVERYBODY

    def contenders(self) -> list[Contender]:
        absent = missing()
        return [
            contender
            for contender in CONTENDERS
            if contender.family in self.families
            and contender.name not in absent
            and (not contender.only or self.measure in contender.only)
        ]


START = Case(
    measure="start",
    name="start 4",
    life=lives.start_and_stop,
    children=4,
    seconds=0.5,
    rounds=7,
    expected=1.4,
)
STANDING = Case(
    measure="standing",
    name="standing",
    life=standing.standing,
    children=32,
    seconds=10.0,
    rounds=2,
    expected=14.0,
)
THROUGHPUT = Case(
    measure="throughput",
    name="throughput",
    life=throughput.throughput,
    children=2,
    seconds=2.0,
    rounds=5,
    expected=5.7,
    families=SERVERS,
)
CRASH = Case(
    measure="crash",
    name="crash every 1 s",
    life=crash.every_second,
    children=4,
    seconds=10.0,
    rounds=2,
    expected=11.7,
    families=SERVERS,
)
MASTER = Case(
    measure="master",
    name="master killed",
    life=lives.master_killed,
    children=4,
    seconds=16.0,  # some look only every 15 s whether their master lives
    rounds=2,
    expected=12.5,
)
GRACEFUL = Case(
    measure="graceful",
    name="graceful wsgi",
    life=lives.graceful_stop,
    children=20,
    seconds=0.5,
    rounds=3,
    expected=3.0,
    families=("wsgi",),
)
CASES = (
    START,
    replace(START, name="start 128", children=128, rounds=3, expected=7.0),
    STANDING,
    THROUGHPUT,
    CRASH,
    replace(CRASH, name="crash every 2 s", life=crash.every_other_second, rounds=1),
    MASTER,
    GRACEFUL,
    replace(GRACEFUL, name="graceful asgi", families=("asgi",), children=2),
)
QUICK = (
    replace(START, rounds=1),
    replace(STANDING, children=4, seconds=2.0, rounds=1, expected=4.5),
    replace(THROUGHPUT, seconds=1.0, rounds=1, expected=3.7),
    replace(CRASH, seconds=2.0, rounds=1, expected=3.7),
    replace(MASTER, seconds=1.5, rounds=1, expected=1.8),
    replace(GRACEFUL, rounds=1, children=8),
    replace(GRACEFUL, rounds=1, name="graceful asgi", families=("asgi",), children=2),
)
MEASURES = tuple(dict.fromkeys(case.measure for case in CASES))


@dataclass(frozen=True, slots=True)
class Step:
    """One life of one contender."""

    case: Case
    round: int
    contender: Contender

    def run(self) -> dict[str, float]:
        return self.case.life(self.contender, self.case.children, self.case.seconds)


def steps_of(case: Case) -> Iterator[Step]:
    """Everybody in turns; each round is begun by another one."""
    contenders = case.contenders()
    for number in range(case.rounds):
        first = number % max(len(contenders), 1)
        for contender in contenders[first:] + contenders[:first]:
            yield Step(case, number, contender)


def chosen(*, quick: bool, only: Sequence[str], rounds: int | None) -> list[Case]:
    """The cases of a run; what needs a program that is not there is not among them."""
    cases = QUICK if quick else CASES
    return [
        replace(case, rounds=rounds or case.rounds)
        for case in cases
        if (not only or case.measure in only) and case.measure not in cannot_run()
    ]


def cannot_run() -> dict[str, str]:
    """Why a measure cannot be taken here, by its name."""
    return {} if shutil.which("wrk") else {"throughput": "wrk is not installed"}
