"""Open files of this process: their limit, which are closed where, and the wait for one."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import stat
import sys
from collections.abc import Iterable
from typing import Final

from supervisor.errors import SystemFailure

# Beside those: locks, what modules open. The least is what the master opens for a generation.
_SPARE: Final = 256
_LEAST_SPARE: Final = 24


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


def wait_for_any(timeout: float | None, *descriptors: int) -> bool:
    """Wait until one is readable; False after `timeout` s."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    # Rounded up, or the wait would be begun again; at most what an int holds (poll(2)).
    wait = None if timeout is None else max(0, min(int(timeout * 1000) + 1, 2**31 - 1))
    return bool(poll.poll(wait))


def is_readable(descriptor: int) -> bool:
    """True where a read would not wait."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def limit() -> int:
    """How many descriptors this process may have: all are below this number."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def lowest_free() -> int:
    """The number that the next descriptor will get; `limit` where no more can be opened."""
    try:
        descriptor = os.dup(2)
    except OSError:
        return limit()
    os.close(descriptor)
    return descriptor


def allow_descriptors(count: int) -> int:
    """Let the master open `count` descriptors for its children, and what else it needs: raise the
    soft limit where that is lower. Returns what it was.

    Raises SystemFailure when the hard limit leaves no room for them.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = lowest_free() + count
    needed, wanted = used + _LEAST_SPARE, used + _SPARE
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise SystemFailure(f"{needed} descriptors needed, ulimit -Hn is {hard}")
    wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return soft


def limit_descriptors(soft: int) -> None:
    """Give a child the soft limit that the master was started with."""
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    )


def close_all_descriptors() -> None:
    """Close everything above stderr."""
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def close_own() -> None:
    """Close what this program has opened, sockets and pipes and memory; what it inherited stays,
    and so do files that have a name, for one may be the log.
    """
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own is closed already
            descriptor = int(entry)
            facts = os.fstat(descriptor)
            is_named_file = stat.S_ISREG(facts.st_mode) and facts.st_nlink > 0
            if not os.get_inheritable(descriptor) and not is_named_file:
                os.close(descriptor)


def hold_standard_descriptors() -> None:
    """Open /dev/null for each of 0, 1, 2 that is closed, so that no socket of ours lands there."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
