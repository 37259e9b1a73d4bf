"""Open files of this process: how many there may be, and which are closed where."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable

from supervisor.errors import SystemFailure


def ranges_of(descriptors: Iterable[int]) -> tuple[range, ...]:
    """Ascending descriptors, most of them neighbours, as few ranges."""
    found: list[range] = []
    for descriptor in descriptors:
        if found and found[-1].stop == descriptor:
            found[-1] = range(found[-1].start, descriptor + 1)
        else:
            found.append(range(descriptor, descriptor + 1))
    return tuple(found)


def close_others(ranges: Iterable[range], kept: int) -> None:
    """Close all descriptors of `ranges` but `kept`, each range by one call or two
    (close_range(2)).

    In every child: to look at each descriptor would copy the pages of all of them.
    """
    for one in ranges:
        if kept in one:
            os.closerange(one.start, kept)
            os.closerange(kept + 1, one.stop)
        else:
            os.closerange(one.start, one.stop)


def allow_descriptors(count: int) -> int:
    """Raise our soft limit of open descriptors to `count` if it is lower; returns what it was.

    Raises SystemFailure when the hard limit forbids it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
        except ValueError:
            raise SystemFailure(f"{count} descriptors needed, ulimit -Hn is {hard}") from None
    return soft


def limit_descriptors(soft: int) -> None:
    """Give a child the soft limit that the master was started with."""
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    )


def close_all_descriptors() -> None:
    """Close everything above stderr."""
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def hold_standard_descriptors() -> None:
    """Open /dev/null for each of 0, 1, 2 that is closed, so that no socket of ours lands there."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
