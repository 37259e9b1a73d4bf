"""What a soak takes for explained, and what not."""

import pytest

from supervisor.master.master import BackOff
from tests.benchmarks.soak_clients import Failure
from tests.benchmarks.soak_verdict import (
    GROWTH,
    HEARD_LATE,
    Kill,
    Vitals,
    entries,
    follow,
    grown,
    unexplained,
)

KILL = Kill("SIGKILL", "tcp", 11, at=5.0, gone_at=5.1)
CUT = Failure("tcp", "ConnectionResetError", 11, began_at=4.9, failed_at=5.0)
VITALS = Vitals({"pipe:[N]": 2}, 1, frozenset({"lock"}), 30_000_000, 9_000_000)


@pytest.mark.parametrize(
    "failure",
    [CUT, CUT._replace(pid=0), CUT._replace(failed_at=5.1 + HEARD_LATE), CUT._replace(what="lost")],
)
def test_what_the_dead_child_had_in_hand_is_explained(failure):
    """By its pid, or where nobody knows who had it, by section and time."""
    assert not unexplained([failure], [KILL])


@pytest.mark.parametrize(
    "change",
    [
        {"what": "refused"},
        {"what": "stuck"},
        {"what": "wrong answer b''"},
        {"pid": 12},
        {"section": "web"},
        {"failed_at": 4.95},
        {"began_at": 5.2, "failed_at": 5.3},
        {"failed_at": 5.2 + HEARD_LATE},
    ],
)
def test_what_no_death_accounts_for_is_not(change):
    """Refused, stuck, wrong; another child's, another time's."""
    assert unexplained([CUT._replace(**change)], [KILL])


def test_a_kill_explains_no_more_than_was_in_hand():
    """A child has one connection at a time: a second failure is unexplained."""
    assert len(unexplained([CUT, CUT], [KILL])) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"descriptors": {"pipe:[N]": 3}},
        {"descriptors": {"pipe:[N]": 2, "socket:[N]": 1}},
        {"descriptors": {}},
        {"threads": 2},
        {"files": frozenset({"lock", "tmp"})},
        {"rss": 30_000_001 + GROWTH},
        {"pss": 9_000_001 + GROWTH},
    ],
)
def test_each_vital_sign_is_compared(change):
    """One complaint for what differs; none for what does not."""
    assert len(grown(VITALS, VITALS._replace(**change))) == 1
    assert not grown(VITALS, VITALS)


def test_back_off_is_followed_through_what_the_log_tells():
    """A wait that the contract does not know is found; near a limit either is right."""
    assert follow({BackOff()}, 2.0, 0.0) == {BackOff()}
    assert follow({BackOff()}, 0.5, 0.1) == {BackOff(0.1, 0.1)}
    assert follow({BackOff()}, 0.99, 0.1) == {BackOff(0.1, 0.1)}
    assert not follow({BackOff()}, 2.0, 0.1)


def test_entries_are_told_from_what_continues_them():
    """A table or a traceback belongs to the entry before."""
    lines = ["2026-11-22T03:22:27.708Z ERROR master[7] child died slot=3 cause=SIGSEGV", "  File x"]
    (entry,) = entries(lines)
    assert (entry.level, entry.subject) == ("ERROR", "master[7]")
    assert entry.facts == {"slot": "3", "cause": "SIGSEGV"}
