"""What the signals of one turn mean for a generation."""

import signal

import pytest

from supervisor.errors import Exit
from supervisor.master.frame import Cause, signal_cause

USR1, CHLD, TERM, INT = signal.SIGUSR1, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT


@pytest.mark.parametrize(
    ("taken", "signum"),
    [
        ([], None),
        ([USR1], None),
        ([CHLD, USR1], None),
        ([TERM], TERM),
        ([TERM, CHLD, USR1], TERM),
        ([TERM, INT], TERM),
        ([signal.SIGPWR], signal.SIGPWR),
        ([signal.SIGPIPE, CHLD], signal.SIGPIPE),
    ],
)
def test_a_termination_is_the_cause(taken, signum):
    """The most urgent termination of a turn is its cause, also beside deaths."""
    expected = signum and Cause(signum.name, Exit.OK, signum)
    assert signal_cause(taken) == expected
