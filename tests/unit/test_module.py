"""The declarations of modules: counters and locks, by full names, fresh in each generation."""

from pathlib import Path

import pytest

from supervisor.child.shared import Server, Shared
from supervisor.errors import StartError
from supervisor.scoreboard import layout
from supervisor.system.resources import Resources


def server(shared, owner="cache", totals=dict):
    """Return what the module `owner` sees."""
    return Server(owner, "web", 1, shared, Resources(), totals, 1, Path)


@pytest.fixture
def shared():
    """Nothing declared; locks are closed at the end."""
    made = Shared()
    yield made
    for lock in made.locks.values():
        lock.close()


def test_names_are_the_owners_own(shared):
    """Two modules may use the same name; one module finds its own again."""
    for owner in ("cache", "limits", "cache"):
        server(shared, owner).counter("hits")
        server(shared, owner).lock("all")
    assert list(shared.counters) == ["cache.hits", "limits.hits"]
    assert list(shared.locks) == ["cache.all", "limits.all"]
    assert len(set(shared.counters.values())) == 2
    assert [lock.number for lock in shared.locks.values()] == [1, 2]


def test_a_counter_may_stand_for_what_is_counted_anyway(shared):
    """Requests and errors are words that every row has."""
    server(shared).counter("all", stands_for="requests")
    server(shared).counter("bad", stands_for="errors")
    assert list(shared.counters.values()) == [layout.REQUESTS, layout.ERRORS]


def test_too_many_counters_are_refused(shared):
    """As many as a row has room for, and no more."""
    for number in range(layout.MAX_COUNTERS):
        server(shared).counter(str(number))
    words = list(shared.counters.values())
    assert len(set(words)) == layout.MAX_COUNTERS
    assert layout.COUNTERS <= min(words) <= max(words) < layout.STRIDE
    with pytest.raises(StartError, match=r"'cache\.more': more than 64"):
        server(shared).counter("more")


def test_a_generation_begins_with_what_workers_declared(shared):
    """Names from preload last; those of the last generation's modules are forgotten."""
    server(shared, "web").counter("served")
    server(shared, "web").lock("all")
    first = shared.for_generation()
    server(first).counter("hits")
    server(first).lock("all")
    server(first).restore({"cache.hits": 5})
    second = shared.for_generation()
    first.close()
    assert list(second.counters) == ["web.served"]
    assert list(second.locks) == ["web.all"]
    assert second.initial == {}


def test_each_generation_writes_its_own_numbers(shared):
    """While the next one serves, `destroy` of the old still reads and writes its own."""
    first, second = shared.for_generation(), shared.for_generation()
    counters = [server(one).counter("hits") for one in (first, second)]
    rows = [memoryview(bytearray(layout.STRIDE * 8)).cast("Q") for _ in range(2)]
    for one, row in zip((first, second), rows, strict=True):
        one.stand_at(row, 0)
    counters[0].add(2)
    counters[1].add(3)
    assert [row[first.counters["cache.hits"]] for row in rows] == [2, 3]


def test_locks_are_free_in_a_new_generation(shared):
    """Whoever held a lock when the last generation ended holds it no more."""
    lock = server(shared, "web").lock("all")
    shared.for_generation()
    assert lock.acquire(timeout=0)
    shared.for_generation()
    assert lock.acquire(timeout=0)
    assert not lock.acquire(timeout=0)


def test_restored_totals_are_where_counters_begin(shared):
    """Each declared counter begins with its total; a total without a counter is no harm."""
    counter = server(shared).counter("hits")
    server(shared).restore({"cache.hits": 40, "gone.hits": 1})
    shared.write_initial()
    counter.add(2)
    assert shared.row.words[shared.counters["cache.hits"]] == 42


def test_totals_are_asked_for_when_needed(shared):
    """A module sees the sums of the moment."""
    sums = {"cache.hits": 1}
    seen = server(shared, totals=lambda: sums)
    sums["cache.hits"] = 2
    assert seen.totals() == {"cache.hits": 2}
