"""Scoreboards written by hand, for who reads them."""

from supervisor.config.address import Address
from supervisor.scoreboard import layout
from supervisor.scoreboard.layout import ServerState, bucket_of
from supervisor.scoreboard.records import Description, Report, Section
from supervisor.scoreboard.writer import Scoreboard
from supervisor.system.clock import Instant

WEB = Address("unix", path="/run/web.sock")
DESCRIPTION = Description(
    "shop",
    (Section("web", "http", 2, 128, (WEB,)), Section("echo", "tcp", 2, 64)),
    {"counters.requests": layout.REQUESTS, "cache.hits": layout.COUNTERS},
    ("cache.write",),
)


def board(directory, description=DESCRIPTION, *, generation=1):
    """A published scoreboard of a server that runs; close it."""
    slots = sum(section.children for section in description.workers)
    made = Scoreboard(directory / "scoreboard", slots, generation, Instant.now())
    made.describe(description)
    made.publish()
    made.set_server_state(ServerState.RUNNING)
    return made


def write(made, slot, state, latencies=(), **facts):
    """Write a row: its state, the latencies (us) that it served, and words by name."""
    base = made.row_base(slot)
    made.begin_slot(slot)
    made.words[base + layout.STATE] = state
    for latency in latencies:
        made.words[base + layout.HISTOGRAM + bucket_of(latency * 1000)] += 1
    for name, value in facts.items():
        made.words[base + getattr(layout, name)] = value


def report(**facts):
    """A crash of `echo/2`, by default a plain one."""
    known = {
        "at": 1_700_000_000.0,
        "generation": 1,
        "slot": 2,
        "worker": "echo",
        "pid": 99,
        "cause": "SIGSEGV",
        "signal": "SIGSEGV",
        "state": "busy",
        "lock": "cache.write",
        "peak_rss_bytes": 12 * 2**20,
        "oom": False,
        "requests": ("GET /cart 0.520s",),
        "traceback": "t",
    }
    return Report(**known | facts)
