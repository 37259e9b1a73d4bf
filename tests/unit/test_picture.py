"""From a scoreboard written by hand to the picture of it, and from the picture to the table."""

import math
import os
import select
import socket
import struct
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.address import Address
from supervisor.scoreboard import layout
from supervisor.scoreboard.layout import ServerState, State, bucket_bounds, bucket_of
from supervisor.scoreboard.writer import Scoreboard
from supervisor.system import clock
from supervisor.views import picture, table
from tests.support.harness import DEADLINE

SECOND = 1_000_000_000  # ns
CRASH = {
    "at": 1_700_000_000.0,
    "generation": 1,
    "slot": 2,
    "worker": "echo",
    "pid": 99,
    "cause": "SIGSEGV",
    "state": "busy",
    "lock": "cache.write",
    "traceback": "t",
}
DESCRIPTION = {
    "name": "shop",
    "workers": [
        {
            "name": "web",
            "type": "http",
            "children": 2,
            "backlog": 128,
            "listen": ["unix:///run/web.sock"],
        },
        {"name": "echo", "type": "tcp", "children": 2, "backlog": 64, "listen": []},
    ],
    "counters": {"counters.requests": layout.REQUESTS, "cache.hits": layout.COUNTERS},
    "locks": ["cache.write"],
}


def write(made, slot, state, latencies=(), **facts):
    """Write a row: its state, the latencies (us) that it served, and words by name."""
    base = made.row_base(slot)
    made.begin_slot(slot)
    made.words[base + layout.STATE] = state
    for latency in latencies:
        made.words[base + layout.HISTOGRAM + bucket_of(latency * 1000)] += 1
    for name, value in facts.items():
        made.words[base + getattr(layout, name)] = value


@pytest.fixture
def snapshot(tmp_path):
    """Four slots in two sections: one idle and alive, one busy, one dead, one starting."""
    made = Scoreboard(tmp_path / "scoreboard", 4, generation=3, started_at=clock.wall_clock())
    made.publish(DESCRIPTION)
    made.set_server_state(ServerState.RUNNING)
    made.set_crash(CRASH)
    write(made, -1, State.EMPTY, REQUESTS=1000, COUNTERS=5)
    write(
        made,
        0,
        State.IDLE,
        [1000] * 90 + [100_000] * 10,
        PID=os.getpid(),
        READY_AT=1,
        REQUESTS=100,
        ERRORS=1,
        BUSY=2 * SECOND,
        LATENCY_MAX=SECOND // 10,
        COUNTERS=1,
    )
    write(made, 1, State.BUSY, REQUESTS=7, ACTIVE=1, READY_AT=1, BUSY=SECOND, BUSY_SINCE=2**63)
    write(made, 2, State.DEAD, [8], REQUESTS=1, ERRORS=1, READY_AT=1, LATENCY_MAX=8000, COUNTERS=2)
    write(made, 3, State.STARTING)
    yield made.snapshot()
    made.close()


def test_the_picture_is_that_of_the_words(snapshot):
    """Server, totals, counters and the last crash are what the scoreboard says."""
    facts = picture.picture(snapshot)
    assert facts["name"] == "shop"
    assert (facts["pid"], facts["state"], facts["generation"]) == (os.getpid(), "running", 3)
    assert facts["totals"] == {"requests": 108, "errors": 2, "active": 1, "busy_seconds": 3.0}
    assert facts["counters"] == {"counters.requests": 1108, "cache.hits": 8}
    assert facts["last_crash"] == CRASH
    assert 0 <= facts["uptime"] < 3600


def test_a_section_sums_its_slots(snapshot):
    """A section's figures are those of its children, also of those that are dead."""
    web, echo = picture.picture(snapshot)["workers"]
    assert web | {"latency": None} == {
        "name": "web",
        "type": "http",
        "listen": [{"address": "unix:///run/web.sock", "queued": None, "backlog": 128}],
        "children": 2,
        "requests": 107,
        "errors": 1,
        "active": 1,
        "latency": None,
    }
    assert web["latency"]["p50"] == pytest.approx(0.001, rel=0.125)
    assert web["latency"]["p90"] == pytest.approx(0.001, rel=0.125)
    assert web["latency"]["p99"] == pytest.approx(0.1, rel=0.125)
    assert web["latency"]["max"] == 0.1
    assert (echo["requests"], echo["errors"], echo["latency"]["max"]) == (1, 1, 8e-6)


def test_living_children_are_shown(snapshot):
    """Each living child has its row, with what the kernel says of it; a dead one has none."""
    children = picture.picture(snapshot, with_pss=True)["children"]
    shown = [(one["slot"], one["worker"], one["state"]) for one in children]
    assert shown == [(0, "web", "idle"), (1, "web", "busy"), (3, "echo", "starting")]
    own = children[0]
    assert own["pid"] == os.getpid()
    assert 0 < own["pss_bytes"] <= own["rss_bytes"]
    assert own["cpu_seconds"] > 0
    assert (own["requests"], own["errors"], own["busy_seconds"]) == (100, 1, 2.0)
    assert children[1]["rss_bytes"] == 0


def test_the_names_are_the_contract(snapshot):
    """Scripts find the fields by these names."""
    facts = picture.picture(snapshot)
    assert list(facts) == [
        *("name", "pid", "state", "generation", "started_at", "uptime"),
        *("totals", "workers", "children", "counters", "last_crash"),
    ]
    assert list(facts["workers"][0]) == [
        *("name", "type", "listen", "children", "requests", "errors", "active", "latency")
    ]
    assert list(facts["workers"][0]["latency"]) == ["p50", "p90", "p99", "max"]
    assert list(facts["children"][0]) == [
        *("slot", "worker", "pid", "state", "requests", "errors", "active", "busy_seconds"),
        *("cpu_seconds", "rss_bytes", "pss_bytes", "uptime"),
    ]


def test_status_counts_the_ready(snapshot):
    """A child that is dead, or not ready yet, is not counted as ready."""
    facts = picture.status(snapshot)
    assert list(facts) == [
        *("running", "pid", "state", "generation", "uptime", "children", "ready_children")
    ]
    assert (facts["state"], facts["children"], facts["ready_children"]) == ("running", 4, 2)


@pytest.mark.parametrize(
    ("state", "name"),
    [
        (ServerState.STARTING, "starting"),
        (ServerState.RUNNING, "running"),
        (ServerState.STOPPING, "stopping"),
    ],
)
def test_the_state_of_the_server_is_told(tmp_path, state, name):
    """Statistics and status agree on the server's state."""
    made = Scoreboard(tmp_path / "scoreboard", 0, generation=1, started_at=0)
    made.publish(DESCRIPTION | {"workers": []})
    made.set_server_state(state)
    snapshot = made.snapshot()
    made.close()
    assert picture.picture(snapshot)["state"] == picture.status(snapshot)["state"] == name


@given(
    st.lists(st.integers(1, 1_000_000_000), min_size=1, max_size=300),
    st.sampled_from([50, 90, 99, 100]),
)
def test_a_percentile_is_in_the_bucket_of_the_true_one(latencies, percent):
    """The reported latency lies in the bucket of the one that sorting all of them finds."""
    histogram = [0] * layout.BUCKETS
    for latency in latencies:
        histogram[bucket_of(latency * 1000)] += 1
    rank = math.ceil(Fraction(percent, 100) * len(latencies))
    lower, upper = bucket_bounds(bucket_of(sorted(latencies)[rank - 1] * 1000))
    assert lower <= picture.percentile(histogram, percent / 100) * 1e9 <= upper


def test_without_requests_a_percentile_is_zero():
    """Nothing was served, nothing took time."""
    assert picture.percentile([0] * layout.BUCKETS, 0.99) == 0.0


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], []),
        ([("name",), ("a",)], ["name", "a"]),
        (
            [("name", "n", "seconds", "where"), ("a", 5, 1.25, "x"), ("longer", 1234, 10, "y")],
            [
                "name       n  seconds  where",
                "a          5     1.25  x",
                "longer  1234       10  y",
            ],
        ),
        ([("only", "heads")], ["only  heads"]),
        ([("n", "m"), ("-", 1)], ["n  m", "-  1"]),
    ],
)
def test_rows_are_aligned(rows, expected):
    """Text stands to the left and numbers to the right of their column, nothing trails."""
    assert table.aligned(rows) == expected


def test_the_table_says_it_all(snapshot):
    """The table has a headline, both kinds of rows in columns, the counters and the crash."""
    lines = table.table(picture.picture(snapshot)).splitlines()
    assert lines[0].startswith(f"shop  pid {os.getpid()}  running  generation 3  up 0:00:0")
    assert lines[0].endswith("  requests 108  errors 2  active 1")
    head = lines[1]
    assert head.split()[:4] == ["worker", "type", "children", "requests"]
    for line, requests in zip(lines[2:4], ("107", "1"), strict=True):
        assert line[: head.index("requests") + len("requests")].endswith(f" {requests}")
    assert lines[2].endswith("unix:///run/web.sock")
    assert [line.split()[0] for line in lines[4:8]] == ["child", "web", "web", "echo"]
    assert [line.split() for line in lines[8:11]] == [
        ["counter", "value"],
        ["counters.requests", "1108"],
        ["cache.hits", "8"],
    ]
    assert lines[11:] == [
        "last crash: 2023-11-14T22:13:20Z generation 1 echo/2 pid 99 SIGSEGV lock cache.write"
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.9, "up 0:00:00"),
        (61, "up 0:01:01"),
        (86_399, "up 23:59:59"),
        (86_400, "up 1d 0:00:00"),
        (90_061.5, "up 1d 1:01:01"),
    ],
)
def test_an_uptime_is_written_for_people(snapshot, seconds, text):
    """Hours, minutes and seconds, and days when there are any."""
    assert f"  {text}  " in table.table(picture.picture(snapshot) | {"uptime": seconds})


def leave_waiting(host, port):
    """Connect, and go when the listener's kernel has taken the connection in: it waits there."""
    with socket.create_connection((host, port)) as connection:
        linger = struct.pack("ii", 1, int(DEADLINE))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "::"])
def test_waiting_connections_are_counted(closing, host):
    """What the kernel holds for accept is what `queued` says, for IPv4 and IPv6."""
    family, near = (socket.AF_INET6, "::1") if ":" in host else (socket.AF_INET, "127.0.0.1")
    listener = closing.enter_context(socket.create_server((host, 0), family=family, backlog=64))
    address = Address("tcp", host=host, port=listener.getsockname()[1])
    assert picture.queued(address, os.getpid()) == 0
    for _ in range(17):
        leave_waiting(near, address.port)
    assert picture.queued(address, os.getpid()) == 17
    closing.enter_context(listener.accept()[0])
    assert picture.queued(address, os.getpid()) == 16


def test_waiting_datagrams_are_counted_in_bytes(closing):
    """A datagram that nobody has read yet shows in `queued`."""
    listener = closing.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    listener.bind(("127.0.0.1", 0))
    address = Address("udp", host="127.0.0.1", port=listener.getsockname()[1])
    assert picture.queued(address, os.getpid()) == 0
    sender = closing.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sender.sendto(b"hello", listener.getsockname())
    assert select.select([listener], [], [], DEADLINE)[0]
    assert picture.queued(address, os.getpid()) >= 5


def test_what_the_kernel_does_not_tell_is_none(closing):
    """A unix socket, a port without listener and a process that is gone have no number."""
    bound = closing.enter_context(socket.socket())
    bound.bind(("127.0.0.1", 0))
    silent = Address("tcp", host="127.0.0.1", port=bound.getsockname()[1])
    assert picture.queued(Address("unix", path="/run/x"), os.getpid()) is None
    assert picture.queued(silent, os.getpid()) is None
    assert picture.queued(silent, 2**22 + 1) is None
