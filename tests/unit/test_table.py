"""The colours of the table, and what it says only when there is something to say."""

import re

from supervisor.views import table

CHILD = {
    "worker": "web", "slot": 0, "pid": 7, "state": "busy", "requests": 1, "errors": 0, "active": 1,
    "busy_seconds": 1.0, "cpu_seconds": 0.5, "rss_bytes": 2**20, "uptime": 3.0,
}  # fmt: skip
FACTS = {
    "name": "shop", "pid": 1, "state": "running", "generation": 1, "uptime": 1.0,
    "totals": {"requests": 1, "errors": 0, "active": 1}, "workers": [], "children": [CHILD],
    "counters": {}, "last_crash": None,
}  # fmt: skip


def test_colours_change_no_character():
    """Without its colours the coloured table is the plain one."""
    coloured = table.table(FACTS, table.coloured)
    assert coloured != table.table(FACTS)
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == table.table(FACTS)


def test_a_state_has_its_colour_and_a_good_number_none():
    """Errors are red only where there are some."""
    assert "\x1b[33mbusy" in table.table(FACTS, table.coloured)
    assert "1;31m" not in table.table(FACTS, table.coloured)
    bad = FACTS | {"totals": FACTS["totals"] | {"errors": 3}}
    assert "\x1b[1;31merrors 3\x1b[0m" in table.table(bad, table.coloured)


def test_a_request_in_hand_is_named():
    """The column of requests is there when a worker names one."""
    assert "request" not in table.table(FACTS).splitlines()[2].split()
    named = FACTS | {"children": [CHILD | {"request": "GET /cart"}]}
    lines = table.table(named).splitlines()
    assert lines[-2].endswith("  request")
    assert lines[-1].endswith("  GET /cart")


def test_a_frozen_master_and_forced_ends_are_said():
    """What nobody expects stands in the headline."""
    odd = FACTS | {"master": {"is_frozen": True}, "forced": 2}
    assert table.table(odd).splitlines()[0].endswith("  master frozen  killed while stopping 2")
