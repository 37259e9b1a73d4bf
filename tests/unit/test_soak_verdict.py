"""The failures that a soak takes for explained, and those that it does not."""

import pytest

from tests.benchmarks.soak.clients import Failure
from tests.benchmarks.soak.verdict import GROWTH, HEARD_LATE, Kill, entries, grown, unexplained

KILL = Kill("SIGKILL", "tcp", 11, at=5.0, gone_at=5.1)
CUT = Failure("tcp", "ConnectionResetError", 11, began_at=4.9, failed_at=5.0)
VITALS = {"descriptor of pipe": 2, "thread": 1, "file lock": 1, "RSS, bytes": 30_000_000}


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
        {"descriptor of pipe": 3},
        {"descriptor of socket": 1},
        {"descriptor of pipe": 0},
        {"thread": 2},
        {"file tmp": 1},
        {"RSS, bytes": 30_000_001 + GROWTH},
    ],
)
def test_each_vital_sign_is_compared(change):
    """One complaint for what differs; none for what does not, or for a few bytes."""
    assert len(grown(VITALS, VITALS | change)) == 1
    assert not grown(VITALS, VITALS | {"RSS, bytes": 30_000_000 + GROWTH})


def test_entries_are_told_from_what_continues_them():
    """A table or a traceback belongs to the entry before."""
    lines = ["2026-11-22T03:22:27.708Z ERROR master[7] child died slot=3 cause=SIGSEGV", "  File x"]
    (entry,) = entries(lines)
    assert (entry.level, entry.subject) == ("ERROR", "master[7]")
    assert entry.facts == {"slot": "3", "cause": "SIGSEGV"}
