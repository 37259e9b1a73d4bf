"""The module `cache` under fire: whoever is killed, the database is whole."""

import os
import re
import signal

import lmdb
import pytest

from tests.support.clients import dial
from tests.support.configs import table, web

HAMMERED = "(?s)" + ".*".join(["cache hammered"] * 4)


def hammer(path):
    """Return four children that hammer a cache of 2 MB, and one that has synced its share."""
    return (
        table("modules.cache", path=str(path), size=2_000_000)
        + table("workers.first", type="task", run="keeping:synced")
        + table("workers.hammer", type="task", run="keeping:hammering", children=4)
    )


def contents(path):
    """Return all entries of a database, after checking that its two tables agree."""
    database = lmdb.open(str(path), max_dbs=2, readonly=True)
    values, ages = (database.open_db(name, create=False) for name in (b"values", b"ages"))
    with database.begin() as transaction:
        entries = dict(transaction.cursor(db=values))
        order = dict(transaction.cursor(db=ages))
    database.close()
    assert {key: value[8:16] for key, value in entries.items()} == {
        key: stamp for stamp, key in order.items()
    }
    for key, value in entries.items():
        if key.startswith(b"hammer"):
            assert value[16:] == key * (len(value[16:]) // len(key))
    return {key: value[16:] for key, value in entries.items()}


def synced(entries):
    """Return how many of the synced entries are there, each with its value."""
    mine = {key: value for key, value in entries.items() if key.startswith(b"synced-")}
    assert all(key == b"synced-" + value for key, value in mine.items())
    return len(mine)


@pytest.mark.parametrize("victim", ["child", "master"])
def test_the_database_survives_a_kill(serve, tmp_path, victim):
    """Four children write when one of them, or the master, is killed: every entry is whole and what
    was synced is there; the next server goes on with it.
    """
    path = tmp_path / "cache"
    server = serve(hammer(path))
    server.wait_for("cache synced", HAMMERED)
    if victim == "child":
        os.kill(server.children()[2], signal.SIGKILL)
        assert server.wait() == 70
    else:
        server.signal(signal.SIGKILL)
        assert server.wait() == -signal.SIGKILL
        server.wait_gone()
    assert synced(contents(path)) == 1000
    server = serve(hammer(path))
    server.wait_for(HAMMERED)
    assert server.stop() == -signal.SIGTERM
    assert synced(contents(path)) == 1000


def test_counters_show_in_the_statistics(serve, tmp_path):
    """Hits, misses, puts and evictions of all children."""
    server = serve(hammer(tmp_path / "cache"))
    server.wait_for("cache synced", HAMMERED)
    counters = server.stats()["counters"]
    assert counters["cache.puts"] >= 1800
    assert {"cache.hits", "cache.misses", "cache.evicted"} <= counters.keys()
    assert server.stop() == -signal.SIGTERM


def test_a_damaged_database_stops_the_start(launch, tmp_path):
    """It is a start failure that names the module, before any child is forked."""
    path = tmp_path / "cache"
    path.mkdir()
    (path / "data.mdb").write_bytes(b"no database" * 1000)
    server = launch(table("modules.cache", path=str(path)) + web())
    assert server.wait() == 76
    assert re.search(r"supervisor: error: modules\.cache: init failed: ", server.log)
    assert "child ready" not in server.log


def test_a_missing_package_is_one_line(launch):
    """It says what to install."""
    server = launch(table("modules.needy", type="keeping:Needy") + web())
    assert server.wait() == 78
    assert "needs package_that_nobody_has; install it with: pip install" in server.log
    assert "prefork-supervisor[cache]" in server.log
    assert "Traceback" not in server.log


def say(connection, line):
    """Send a line and return the answer, "" where the connection was closed instead."""
    connection.sendall(f"{line}\n".encode())
    return connection.makefile().readline().rstrip()


def small_disk(path, *, full=False):
    """Return the prefix of a command that finds a file system of 4 MB at `path`, full or not."""
    fill = f"head -c 5M /dev/zero >{path}/fill 2>/dev/null" if full else "true"
    script = f'mount -t tmpfs -o size=4M none {path}; {fill}; exec "$@"'
    return ["unshare", "-m", "sh", "-c", script, "sh"]


@pytest.mark.root
def test_a_full_disk_at_the_start_is_one_line(launch, tmp_path):
    """Status 71; no SIGBUS, no traceback, no child."""
    disk = tmp_path / "disk"
    disk.mkdir()
    text = table("modules.cache", path=str(disk / "cache")) + web("keeping:talking")
    server = launch(text, prefix=small_disk(disk, full=True))
    assert server.wait() == 71, server.log
    assert re.search(r"^supervisor: error: modules\.cache: .*No space left", server.log, re.M)
    assert "Traceback" not in server.log
    assert "child ready" not in server.log


@pytest.mark.root
def test_a_disk_that_fills_costs_a_request_and_no_child(serve, tmp_path):
    """The `put` is an OSError of its request; what was stored can be read, and so can what is
    stored in place of it.
    """
    disk = tmp_path / "disk"
    disk.mkdir()
    text = table("modules.cache", path=str(disk / "cache")) + web("keeping:talking", children=1)
    server = serve(text, prefix=small_disk(disk))
    with dial(server) as connection:
        assert say(connection, "put key value") == "True"
        assert say(connection, "fill") == ""
    server.wait_for("OSError.*cannot write to the cache")
    for _ in range(3):
        with dial(server) as connection:
            assert say(connection, "get key") == "value"
            assert say(connection, "fill") == ""
    assert server.stats()["totals"]["errors"] == 4
    assert server.stop() == -signal.SIGTERM


def test_two_generations_have_one_cache(serve, tmp_path):
    """A value put by a draining child is seen by the next generation, and outlives that child."""
    text = table("modules.cache", path=str(tmp_path / "cache")) + web("keeping:talking")
    server = serve(text, master={"restart": "on-crash"})
    with dial(server) as old:
        survivor = int(say(old, "pid"))
        (victim,) = set(server.children().values()) - {survivor}
        os.kill(victim, signal.SIGKILL)
        server.wait_for(r"server ready .*generation=2")
        assert say(old, "put late value") == "True"
        with dial(server) as new:
            assert say(new, "get late") == "value"
            assert say(new, "put new value") == "True"
        assert say(old, "get new") == "value"
        assert int(say(old, "pid")) == survivor
    server.wait_for("generation gone generation=1")
    with dial(server) as new:
        assert say(new, "get late") == "value"
        assert say(new, "put after value") == "True"
    assert server.stop() == -signal.SIGTERM
    assert {b"late", b"new", b"after"} <= contents(tmp_path / "cache").keys()
