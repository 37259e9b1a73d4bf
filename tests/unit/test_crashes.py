"""The report of crashes: own frames first, others counted, nothing that harms a terminal."""

import sysconfig
from pathlib import Path

import supervisor
from supervisor.scoreboard.records import KEPT, History, Incident
from supervisor.views.crashes import crash_line, facts, why
from tests.support.scoreboards import report

OURS = str(Path(supervisor.__file__).parent / "workers/tcp.py")
PYTHON = sysconfig.get_path("stdlib") + "/json/decoder.py"
PACKAGE = "/srv/venv/lib/python3.11/site-packages/flask/app.py"


def test_the_newest_come_first():
    """Crashes and incidents in one list, ten at most."""
    history = History()
    for number in range(KEPT):
        history.add_crash(report(at=2.0 * number))
        history.add_incident(
            Incident(at=2.0 * number + 1, kind="forced stop", generation=3, reason="late")
        )
    told = list(why(history))
    assert len(told) == KEPT
    assert told[0] == "1970-01-01T00:00:19.000Z forced stop reason=late generation=3"
    assert told[1].startswith("1970-01-01T00:00:18.000Z child died worker=echo slot=2 pid=99 ")


def test_all_requests_in_hand_are_told():
    """The oldest stands in the line, the others below it."""
    died = report(requests=("GET /a 2.000s", "GET /b 1.000s", "GET /c 0.500s"), oom=True)
    assert facts(died)["request"] == "GET /a 2.000s"
    assert facts(died)["note"].splitlines() == [
        "killed by the kernel's OOM killer",
        "also in hand: GET /b 1.000s",
        "also in hand: GET /c 0.500s",
    ]


def test_what_a_child_wrote_cannot_command_a_terminal():
    """Escape sequences in a traceback or a name are shown, not obeyed."""
    history = History()
    history.add_crash(report(traceback="ValueError: \x1b[2J\nx", worker="\x1b]0;x\x07"))
    (told,) = why(history)
    assert all(line.isprintable() for line in told.split("\n"))
    assert crash_line(history.crashes[0]).isprintable()
