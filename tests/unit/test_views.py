"""From a scoreboard written by hand to the statistics, and from those to the table."""

import math
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.address import Address
from supervisor.scoreboard import layout
from supervisor.scoreboard.layout import ServerState, State, bucket_bounds, bucket_of
from supervisor.scoreboard.reader import Snapshot
from supervisor.scoreboard.records import Description, Drain, History, Section
from supervisor.scoreboard.view import RowView
from supervisor.system import observe
from supervisor.views import statistics, table
from supervisor.views.latency import histogram_of, latency_of, percentile
from supervisor.views.records import Draining, Latency, Listening, Totals
from tests.support.harness import DEADLINE
from tests.support.scoreboards import board, report, write

SECOND = 1_000_000_000  # ns
CRASH = report()


@pytest.fixture
def snapshot(tmp_path):
    """Four slots in two sections: one idle and alive, one busy, one dead, one starting."""
    made = board(tmp_path, generation=3)
    history = History()
    history.add_crash(CRASH)
    made.set_history(history)
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
        CONNECTIONS=7,
        RESPONSES=3,
    )
    write(
        made,
        1,
        State.BUSY,
        PID=os.getpid(),
        REQUESTS=7,
        ACTIVE=1,
        READY_AT=1,
        BUSY=SECOND,
        BUSY_SINCE=2**63,
    )
    write(made, 2, State.DEAD, [8], REQUESTS=1, ERRORS=1, READY_AT=1, LATENCY_MAX=8000, COUNTERS=2)
    write(made, 3, State.STARTING)
    yield made.snapshot()
    made.close()


def test_the_statistics_are_those_of_the_words(snapshot):
    """Server, totals, counters and the last crash are what the scoreboard says."""
    facts = statistics.of(snapshot)
    assert facts.name == "shop"
    assert (facts.pid, facts.state, facts.generation) == (os.getpid(), "running", 3)
    assert facts.totals == Totals(108, 2, 1, 3.0)
    assert facts.counters == {"counters.requests": 1108, "cache.hits": 8}
    assert facts.last_crash == CRASH
    assert facts.deaths == (("echo", "SIGSEGV", 1),)
    assert 0 <= facts.uptime < 3600


def test_a_section_sums_its_slots(snapshot):
    """A section's figures are those of its children, also of those that are dead."""
    web, echo = statistics.of(snapshot).workers
    assert (web.name, web.type, web.children) == ("web", "http", 2)
    assert web.listen == (Listening("unix:///run/web.sock", None, 128),)
    assert (web.requests, web.errors, web.active) == (107, 1, 1)
    assert web.latency.p50 == pytest.approx(0.001, rel=0.125)
    assert web.latency.p90 == pytest.approx(0.001, rel=0.125)
    assert web.latency.p99 == pytest.approx(0.1, rel=0.125)
    assert web.latency.max == 0.1
    assert web.responses == {"1xx": 3, "2xx": 0, "3xx": 0, "4xx": 0, "5xx": 0}
    assert (echo.requests, echo.errors, echo.latency.max) == (1, 1, 8e-6)


def test_living_children_are_shown(snapshot):
    """Each living child has its row, with what the kernel says of it; a dead one has none."""
    children = statistics.of(snapshot).children
    shown = [(one.slot, one.worker, one.state) for one in children]
    assert shown == [(0, "web", "idle"), (1, "web", "busy"), (3, "echo", "starting")]
    own = children[0]
    assert own.pid == os.getpid()
    assert 0 < own.pss_bytes <= own.rss_bytes
    assert own.cpu_seconds > 0
    assert (own.requests, own.errors, own.busy_seconds, own.connections) == (100, 1, 2.0, 7)
    assert children[2].rss_bytes == 0


def test_the_names_are_the_contract(snapshot):
    """Scripts find the fields by these names, and no others."""
    live = statistics.of(snapshot)
    facts = msgspec.to_builtins(statistics.contract(live))
    assert list(facts) == [
        *("name", "pid", "state", "generation", "started_at", "uptime", "totals", "workers"),
        *("children", "draining", "crashes", "counters", "last_crash"),
    ]
    assert list(facts["totals"]) == ["requests", "errors", "active", "busy_seconds"]
    assert list(facts["workers"][0]) == [
        *("name", "type", "listen", "children", "requests", "errors", "active", "latency")
    ]
    assert list(facts["workers"][0]["listen"][0]) == ["address", "queued", "backlog"]
    assert list(facts["workers"][0]["latency"]) == ["p50", "p90", "p99", "max"]
    assert list(facts["children"][0]) == [
        *("slot", "worker", "pid", "state", "requests", "errors", "active", "busy_seconds"),
        *("cpu_seconds", "rss_bytes", "pss_bytes", "uptime"),
    ]
    assert list(facts["last_crash"]) == [
        *("at", "generation", "slot", "worker", "pid", "cause", "signal", "state", "lock"),
        *("peak_rss_bytes", "oom", "requests", "traceback"),
    ]
    assert facts["crashes"] == (facts["last_crash"],)


def test_older_generations_that_drain_are_named(tmp_path):
    """Each with its master's pid and what it has in hand; those that are done are left out."""
    made = board(tmp_path, generation=3)
    made.set_draining([Drain(1, 100, 5, children=2), Drain(2, 101, 6, children=4)])
    facts = statistics.of(made.snapshot(), with_pss=False)
    assert facts.draining == (Draining(1, 100, 5), Draining(2, 101, 6))
    assert facts.draining_children == 6
    made.set_draining([Drain(2, 101, 6)])
    assert statistics.of(made.snapshot(), with_pss=False).draining == (Draining(2, 101, 6),)
    made.close()


def test_status_counts_the_ready(snapshot):
    """A child that is dead, or not ready yet, is not counted as ready."""
    facts = msgspec.to_builtins(statistics.status(snapshot))
    assert list(facts) == [
        *("running", "pid", "state", "generation", "uptime", "children", "ready_children"),
        "reason",
    ]
    assert (facts["state"], facts["children"], facts["ready_children"]) == ("running", 4, 2)
    assert facts["reason"] == "echo/2 is dead"


ONE = Description("shop", (Section("web", "tcp", 1, 8),))


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
    made = board(tmp_path, ONE)
    made.set_server_state(state)
    snapshot = made.snapshot()
    made.close()
    assert statistics.of(snapshot).state == statistics.status(snapshot).state == name


@pytest.mark.parametrize(
    ("state", "ready_at", "reason"),
    [
        (State.IDLE, 1, ""),
        (State.BUSY, 1, ""),
        (State.FINISHED, 0, ""),
        (State.EMPTY, 0, ""),
        (State.STARTING, 0, "web/0 is not ready"),
        (State.DEAD, 1, "web/0 is dead"),
        (State.STOPPING, 1, "web/0 is stopping"),
    ],
)
def test_the_reason_why_it_is_not_ready(tmp_path, state, ready_at, reason):
    """Every child must be ready or finished; one that is not forked yet is not missing."""
    made = board(tmp_path, ONE)
    write(made, 0, state, PID=os.getpid(), READY_AT=ready_at)
    assert statistics.why_not_ready(made.snapshot()) == reason
    made.begin_drain_delay()
    assert statistics.why_not_ready(made.snapshot()) == "about to stop"
    made.close()


def test_the_dead_are_not_ready_whatever_they_wrote(tmp_path):
    """A child that died, and that nobody has reaped, is not ready; nor one under a frozen or dead
    master.
    """
    made = board(tmp_path, ONE)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        write(made, 0, State.IDLE, PID=other.pid, READY_AT=1)
        master = memoryview(bytearray((tmp_path / "scoreboard").read_bytes())).cast("Q")
        master[layout.H_MASTER] = other.pid
        assert statistics.status(made.snapshot()).ready_children == 1
        other.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, other.pid, os.WSTOPPED | os.WNOWAIT)
        assert statistics.why_not_ready(Snapshot(master.tobytes())) == "master frozen"
        other.kill()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        assert statistics.status(made.snapshot()).ready_children == 0
        assert statistics.why_not_ready(made.snapshot()) == "web/0 is dead"
        assert statistics.why_not_ready(Snapshot(master.tobytes())) == "the master is dead"
    made.close()


def test_an_uptime_is_not_of_the_wall_clock(tmp_path, monkeypatch):
    """A reader whose clock was set back two hours shows no other durations."""
    made = board(tmp_path, ONE)
    write(made, 0, State.IDLE, PID=os.getpid(), READY_AT=1)
    before = statistics.clock.wall_clock()
    monkeypatch.setattr(statistics.clock, "wall_clock", lambda: before - 7200 * SECOND)
    facts = statistics.of(made.snapshot())
    made.close()
    assert facts.at < before / 1e9 - 7000
    assert 0 <= facts.uptime < 3600
    assert 0 <= facts.children[0].uptime <= facts.uptime


@given(
    st.lists(st.integers(1, 1_000_000_000), min_size=1, max_size=300),
    st.sampled_from([50, 90, 99, 100]),
)
def test_a_percentile_is_in_the_bucket_of_the_true_one(latencies, percent):
    """The reported latency lies in the bucket of the one that sorting all of them finds."""
    row = memoryview(bytearray(layout.STRIDE * 8)).cast("Q")
    for latency in latencies:
        row[layout.HISTOGRAM + bucket_of(latency * 1000)] += 1
    rank = math.ceil(Fraction(percent, 100) * len(latencies))
    lower, upper = bucket_bounds(bucket_of(sorted(latencies)[rank - 1] * 1000))
    assert lower <= percentile(histogram_of([RowView(row)]), percent / 100) * 1e9 <= upper


def test_without_requests_a_percentile_is_zero():
    """Nothing was served, nothing took time."""
    empty = RowView(memoryview(bytes(layout.STRIDE * 8)).cast("Q"))
    assert percentile(histogram_of([empty]), 0.99) == 0.0
    assert latency_of((), 0.0) == Latency()


@pytest.mark.parametrize(
    ("histogram", "fraction", "latency"),
    [
        ([], 0.5, 0.0),
        ([(1.0, 0)], 0.5, 0.0),
        ([(1.0, 1)], 0.99, 1.0),
        ([(1.0, 1), (2.0, 1)], 1, 2.0),
    ],
)
def test_a_percentile_of_few(histogram, fraction, latency):
    """The bucket in which the fraction is reached; zero without requests."""
    assert percentile(histogram, fraction) == latency


def test_the_table_says_it_all(snapshot):
    """The table has a headline, both kinds of rows in columns, the counters and the crash."""
    lines = table.table(statistics.of(snapshot)).splitlines()
    assert lines[0].startswith(f"shop  pid {os.getpid()}  running  generation 3  up 0:00:0")
    assert lines[0].endswith("  requests 108  errors 2  active 1  echo/2 is dead")
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
        " GET /cart 0.520s"
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
    assert f"  {text}  " in table.table(
        msgspec.structs.replace(statistics.of(snapshot), uptime=seconds)
    )


def leave_waiting(host, port):
    """Connect, and go when the listener's kernel has taken the connection in: it waits there."""
    with socket.create_connection((host, port)) as connection:
        linger = struct.pack("ii", 1, int(DEADLINE))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "::"])
def test_waiting_connections_are_counted(closing, host):
    """`queued` is the number of connections that wait for accept, for IPv4 and IPv6."""
    family, near = (socket.AF_INET6, "::1") if ":" in host else (socket.AF_INET, "127.0.0.1")
    listener = closing.enter_context(socket.create_server((host, 0), family=family, backlog=64))
    address = Address("tcp", host=host, port=listener.getsockname()[1])
    assert observe.queued(address, os.getpid()) == 0
    for _ in range(17):
        leave_waiting(near, address.port)
    assert observe.queued(address, os.getpid()) == 17
    closing.enter_context(listener.accept()[0])
    assert observe.queued(address, os.getpid()) == 16


def test_waiting_datagrams_are_counted_in_bytes(closing):
    """A datagram that nobody has read yet shows in `queued`."""
    listener = closing.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    listener.bind(("127.0.0.1", 0))
    address = Address("udp", host="127.0.0.1", port=listener.getsockname()[1])
    assert observe.queued(address, os.getpid()) == 0
    sender = closing.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sender.sendto(b"hello", listener.getsockname())
    assert select.select([listener], [], [], DEADLINE)[0]
    assert observe.queued(address, os.getpid()) >= 5


def test_what_the_kernel_does_not_tell_is_none(closing):
    """A unix socket, a port without listener and a process that is gone have no number."""
    bound = closing.enter_context(socket.socket())
    bound.bind(("127.0.0.1", 0))
    silent = Address("tcp", host="127.0.0.1", port=bound.getsockname()[1])
    assert observe.queued(Address("unix", path="/run/x"), os.getpid()) is None
    assert observe.queued(silent, os.getpid()) is None
    assert observe.queued(silent, 2**22 + 1) is None
