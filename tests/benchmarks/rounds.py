"""Two things sampled in turns, so that what disturbs the machine for a while disturbs both."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def interleaved(rounds: int, a: Callable[[], T], b: Callable[[], T]) -> tuple[list[T], list[T]]:
    """Samples of both; each round is begun by the other one; a first round only warms up."""
    taken: tuple[list[T], list[T]] = ([], [])
    for number in range(rounds + 1):
        turns = [(taken[0], a), (taken[1], b)]
        for samples, sample in turns if number % 2 else reversed(turns):
            samples.append(sample())
    return taken[0][1:], taken[1][1:]
