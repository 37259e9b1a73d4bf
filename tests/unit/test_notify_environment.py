"""The meaning of the service manager's variables."""

import os

import pytest

from supervisor.errors import ConfigError
from supervisor.system.notify import Notifier, pass_on, take_inherited

OURS = str(os.getpid())


@pytest.fixture
def four_open(closing):
    """The descriptors up to 4 are open, as if somebody had passed two."""
    while (descriptor := os.open(os.devnull, os.O_RDONLY)) <= 4:
        closing.callback(os.close, descriptor)
    os.close(descriptor)


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
def test_descriptors_are_ours_only_if_they_say_so(four_open, environ, inherited):
    """LISTEN_PID decides, LISTEN_FDS counts, LISTEN_FDNAMES names; all three leave."""
    environ = {**environ, "PATH": "/bin"}
    assert take_inherited(environ) == inherited
    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize("count", ["2147483648", "9223372036854775808", "99999999999999999999"])
def test_more_descriptors_than_are_open_are_refused(count):
    """At the first that is not: any number costs no time and no memory."""
    with pytest.raises(ConfigError, match=rf"LISTEN_FDS={count}: descriptor \d+ is not open"):
        take_inherited({"LISTEN_PID": OURS, "LISTEN_FDS": count})


@pytest.mark.parametrize("pid", ["9" * 30, "9" * 5000, "-1", "1_0", "\u0663", " 1", ""])
def test_a_number_that_is_none_names_nobody(pid):
    """Neither an exception nor a guess."""
    assert take_inherited({"LISTEN_PID": pid, "LISTEN_FDS": "1"}) == []
    assert take_inherited({"LISTEN_PID": OURS, "LISTEN_FDS": pid}) == []


@pytest.mark.parametrize("usec", ["9" * 20, "9" * 30, "9" * 5000, "-5", "0", "soon"])
def test_a_watchdog_that_makes_no_sense_harms_nobody(tmp_path, usec):
    """A wait ends when it should, or after a day; the kernel takes no longer one."""
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "none"), "WATCHDOG_USEC": usec})
    assert notifier._interval == float("inf") or notifier._interval == 86_400.0
    notifier.close()


def test_what_was_meant_for_the_launcher_is_passed_on():
    """A daemon has another pid than the one that systemd started."""
    environ = {"LISTEN_PID": "77", "WATCHDOG_PID": "78", "LISTEN_FDS": "1"}
    pass_on(environ, 77)
    assert environ == {"LISTEN_PID": OURS, "WATCHDOG_PID": "78", "LISTEN_FDS": "1"}
