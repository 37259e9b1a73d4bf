"""The module `cache` in one process, on a real database."""

from pathlib import Path

import pytest

from supervisor.child.shared import Server, Shared
from supervisor.modules.cache import Cache, CacheOptions
from supervisor.system.resources import Resources

SIZE = 1_048_576


@pytest.fixture
def shared():
    """Return the counters that the cache declares its own in."""
    return Shared()


@pytest.fixture
def cache(tmp_path, shared):
    """Return an open cache of SIZE bytes."""
    module = Cache(CacheOptions(path=str(tmp_path / "cache"), size=SIZE))
    module.init(Server("cache", "test", 1, shared, Resources(), dict, 1, Path))
    module.child_init(None)
    yield module
    module.child_exit(None)
    module.destroy()


def count(shared, name):
    """Return a counter's value."""
    return shared.row.words[shared.row.base + shared.counters[f"cache.{name}"]]


def test_what_was_put_is_got(cache):
    """Text and bytes name the same key; the last value counts; an empty value is a value."""
    assert cache.get("key") is None
    assert cache.put("key", b"one")
    assert cache.put(b"key", b"two")
    assert cache.put("empty", b"")
    assert (cache.get("key"), cache.get("empty")) == (b"two", b"")


def test_what_was_deleted_is_gone(cache):
    """`delete` tells whether it was there."""
    cache.put("key", b"value")
    assert cache.delete("key")
    assert not cache.delete("key")
    assert cache.get("key") is None


def test_a_value_expires(cache):
    """After its time to live it is not there; without one it stays."""
    cache.put("gone", b"value", ttl=0.0)
    cache.put("here", b"value", ttl=1000.0)
    cache.put("always", b"value")
    assert [cache.get(key) for key in ("gone", "here", "always")] == [None, b"value", b"value"]


def test_a_full_cache_lets_the_oldest_go(cache, shared):
    """In the order of writing; what is written again is young again."""
    value = b"x" * 10_000
    cache.put("kept", value)
    for number in range(60):
        cache.put(f"{number}", value)
    cache.put("kept", value)
    for number in range(60, 120):
        assert cache.put(f"{number}", value)
    assert cache.get("0") is None
    assert cache.get("119") == value
    assert cache.get("kept") == value
    assert count(shared, "evicted") > 20


def test_a_full_cache_goes_on_for_ever(cache, tmp_path):
    """Values of all sizes, many times what fits, none refused; the file stays small."""
    for number in range(2000):
        assert cache.put(f"{number % 300}", bytes(number * 17 % 30_000))
    assert (tmp_path / "cache" / "data.mdb").stat().st_blocks * 512 < 4 * SIZE


def test_a_value_larger_than_the_cache_is_refused(cache, shared):
    """`put` says so, and what was there before stays."""
    cache.put("key", b"old")
    assert not cache.put("key", bytes(SIZE))
    assert cache.get("key") == b"old"
    assert count(shared, "refused") == 1


@pytest.mark.parametrize("key", ["", "k" * 512])
def test_a_key_has_bounds(cache, key):
    """1 to 511 bytes."""
    with pytest.raises(ValueError, match="1 to 511 bytes"):
        cache.put(key, b"value")


def test_what_was_put_outlives_the_server(cache, tmp_path):
    """The next one opens the same database."""
    cache.put("key", b"value")
    cache.child_exit(None)
    cache.destroy()
    cache.child_init(None)
    assert cache.get("key") == b"value"


def test_counters(cache, shared):
    """Hits, misses and puts are counted."""
    cache.get("key")
    cache.put("key", b"value")
    cache.get("key")
    cache.get("key")
    assert [count(shared, name) for name in ("hits", "misses", "puts")] == [2, 1, 1]
