"""What the service manager's variables mean."""

import os

import pytest

from supervisor.system.notify import take_inherited

OURS = str(os.getpid())


@pytest.mark.parametrize(
    ("environ", "inherited"),
    [
        ({}, []),
        ({"LISTEN_FDS": "1"}, []),
        ({"LISTEN_PID": "1", "LISTEN_FDS": "1"}, []),
        ({"LISTEN_PID": OURS, "LISTEN_FDS": "two"}, []),
        ({"LISTEN_PID": OURS, "LISTEN_FDS": "0"}, []),
        ({"LISTEN_PID": OURS, "LISTEN_FDS": "2"}, [(3, ""), (4, "")]),
        ({"LISTEN_PID": OURS, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}, [(3, "a"), (4, "b")]),
        ({"LISTEN_PID": OURS, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a"}, [(3, "a"), (4, "")]),
        ({"LISTEN_PID": OURS, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a:b"}, [(3, "a")]),
    ],
)
def test_descriptors_are_ours_only_if_they_say_so(environ, inherited):
    """LISTEN_PID decides, LISTEN_FDS counts, LISTEN_FDNAMES names; all three leave."""
    environ = {**environ, "PATH": "/bin"}
    assert take_inherited(environ) == inherited
    assert environ == {"PATH": "/bin"}
