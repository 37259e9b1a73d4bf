"""Signals are recorded, taken in order of urgency, and never lost between a test and a wait."""

import contextlib
import fcntl
import itertools
import os
import select
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.errors import Stop
from supervisor.system import signals
from supervisor.system.recorder import SignalRecorder
from supervisor.system.signals import TABLE, Action
from tests.support.harness import DEADLINE

# The tests install handlers, SIGALRM's too: the time limit must not rest on it.
pytestmark = pytest.mark.timeout(method="thread")

TERM, INT, PWR, PIPE = signal.SIGTERM, signal.SIGINT, signal.SIGPWR, signal.SIGPIPE
CHLD, USR1, USR2, HUP = signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP
ALRM = signal.SIGALRM


@pytest.fixture
def dispositions():
    """Puts back what the code under test makes of each signal."""
    before = {row.signum: signal.getsignal(row.signum) for row in TABLE}
    yield
    for number, action in before.items():
        signal.signal(number, action)  # noqa: TID251 - no other way back


@pytest.fixture
def recorder(dispositions):
    """A recorder that handles nothing yet."""
    made = SignalRecorder()
    yield made
    made.close()


@pytest.fixture
def master(recorder):
    """A recorder installed as in the master."""
    recorder.install()
    return recorder


@pytest.mark.parametrize(
    ("signum", "in_master", "in_child"),
    [
        (TERM, Action.STOP, Action.STOP),
        (INT, Action.STOP, Action.STOP),
        (PWR, Action.STOP, Action.STOP),
        (PIPE, Action.STOP, Action.IGNORE),
        (CHLD, Action.REAP, Action.DEFAULT),
        (USR1, Action.STATISTICS, Action.STATISTICS),
        (HUP, Action.HINT, Action.IGNORE),
        (USR2, Action.HINT, Action.IGNORE),
        (ALRM, Action.DEADLINE, Action.DUMP),
        (signal.SIGTTIN, Action.JOB, Action.DEFAULT),
        (signal.SIGTTOU, Action.JOB, Action.DEFAULT),
        (signal.SIGTSTP, Action.JOB, Action.DEFAULT),
        (signal.SIGRTMIN + 1, Action.IGNORE, Action.IGNORE),
    ],
)
def test_the_table_is_the_contract(signum, in_master, in_child):
    """Each signal has the meaning that users were promised."""
    (row,) = [row for row in TABLE if row.signum == signum]
    assert (row.master, row.child) == (in_master, in_child)


def test_deadly_signals_are_left_alone():
    """Nothing is made of a signal that means a fault."""
    deadly = {signal.SIGQUIT, signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE}
    assert deadly.isdisjoint(row.signum for row in TABLE)


@given(st.lists(st.sampled_from([row.signum for row in TABLE]), unique=True))
def test_urgent_signals_come_first(pending):
    """Signals that end the server come first, in the order in which they were sent; then deaths,
    then statistics.
    """
    taken = signals.in_order(pending)
    assert set(taken) == set(pending)
    ends = [one for one in pending if one in (TERM, INT, PWR, PIPE)]
    assert taken[: len(ends)] == ends
    rest = (CHLD, USR1, HUP, USR2, signal.SIGTTIN, signal.SIGTTOU, signal.SIGTSTP, ALRM)
    rest = (*rest, signals.STACK, signals.TASKS)
    ranks = [rest.index(one) for one in taken[len(ends) :]]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize("raised", [*itertools.permutations([TERM, CHLD, USR1])])
def test_every_pending_signal_is_taken(master, raised):
    """In whatever order they come, all are taken, the most urgent first, each once."""
    for number in raised:
        signal.raise_signal(number)
    assert master.take() == [TERM, CHLD, USR1]
    assert master.take() == []


def test_ignored_signals_leave_no_trace(master):
    """Those of `supervisor stack` neither end the wait nor become pending."""
    for number in (signals.STACK, signals.TASKS):
        signal.raise_signal(number)
    assert not master.wait(0)
    assert master.take() == []


@pytest.mark.parametrize("number", [TERM, INT, PWR, PIPE])
def test_a_termination_stays_pending_until_taken(master, number):
    """Looking for a reason to end does not use it up."""
    signal.raise_signal(USR1)
    assert master.termination() is None
    signal.raise_signal(number)
    assert master.termination() is master.termination() is number
    assert master.take() == [number, USR1]
    assert master.termination() is None


def test_a_signal_consumed_elsewhere_can_be_recorded(master):
    """A signal that sigtimedwait(2) took counts as pending again."""
    master.record(TERM)
    assert master.take() == [TERM]


def test_a_signal_before_the_wait_ends_it(master):
    """A signal between the test of the pending set and the wait is not lost."""
    assert master.take() == []
    signal.raise_signal(USR1)
    assert master.wait(DEADLINE)
    assert master.take() == [USR1]
    assert not master.wait(0)


def test_a_signal_after_the_byte_was_read_is_seen(master):
    """The byte only wakes: with it gone the set still says what came."""
    signal.raise_signal(USR1)
    master.clear()
    assert not master.wait(0)
    assert master.take() == [USR1]


def test_a_flood_of_signals_does_no_harm(master):
    """More signals than the wakeup pipe holds neither block nor fail, and TERM is seen."""
    room = fcntl.fcntl(master.fileno(), fcntl.F_SETPIPE_SZ, 4096)
    for _ in range(room + 100):
        signal.raise_signal(USR1)
    signal.raise_signal(TERM)
    assert master.wait(DEADLINE)
    assert master.take() == [TERM, USR1]
    assert not master.wait(0)


def test_a_descriptor_ends_the_wait(recorder):
    """The wait is also for what else the caller waits for."""
    reader, writer = os.pipe()
    assert not recorder.wait(0, reader)
    os.write(writer, b"x")
    assert recorder.wait(DEADLINE, reader)
    assert recorder.wait(None, reader)
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("timeout", [-1.0, 0.0, 1e-9, 0.001])
def test_a_wait_ends_at_its_timeout(recorder, timeout):
    """A timeout that is negative, zero or tiny ends the wait at once, and nothing came."""
    assert not recorder.wait(timeout)


@pytest.mark.parametrize("timeout", [DEADLINE, 31_536_000.0])
def test_a_wait_may_be_as_long_as_any_timeout(master, timeout):
    """The longest duration that a configuration may hold is one that can be waited for."""
    signal.raise_signal(USR1)
    assert master.wait(timeout)


def test_a_process_is_waited_for_as_long_as_any_timeout():
    """The same holds for the wait for another process's end."""
    reader, writer = os.pipe()
    os.close(writer)
    assert signals.pid_is_gone(reader, 31_536_000.0)
    os.close(reader)


def test_in_a_child_signals_are_handled_at_once(master):
    """TERM and USR1 call their functions inside the handler; the others have their own action."""
    called = []
    master.become_child({Action.STOP: called.append, Action.STATISTICS: called.append})
    for number in (USR1, TERM, PIPE, HUP):
        signal.raise_signal(number)
    assert called == [USR1, TERM]
    assert signal.getsignal(PIPE) == signal.SIG_IGN
    assert signal.getsignal(CHLD) == signal.getsignal(ALRM) == signal.SIG_DFL
    assert master.wait(DEADLINE)


def test_a_child_begins_with_nothing_pending(master):
    """A signal sent to the master before the fork is not the child's."""
    signal.raise_signal(TERM)
    master.become_child({})
    assert not master.wait(0)
    assert master.take() == []


def test_after_close_a_late_signal_is_still_harmless(dispositions):
    """The handlers outlive the wakeup descriptor."""
    late = SignalRecorder()
    late.install()
    late.close()
    signal.raise_signal(TERM)
    assert late.take() == [TERM]


def test_user_code_is_interrupted_by_a_termination(master):
    """Inside, TERM raises Stop at once, and remains pending for the loop."""
    with pytest.raises(Stop) as caught, master.stop_raised():
        signal.raise_signal(TERM)
    assert caught.value.signum is TERM
    assert master.take() == [TERM]


def test_user_code_does_not_begin_after_a_termination(master):
    """The pending signal that came first is raised before user code, which never runs."""
    entered = False
    signal.raise_signal(PIPE)
    signal.raise_signal(INT)
    with pytest.raises(Stop) as caught, master.stop_raised():
        entered = True
    assert caught.value.signum is PIPE
    assert not entered


def test_only_terminations_interrupt_and_only_inside(master):
    """USR1 and CHLD interrupt nobody; outside, nor does TERM."""
    with master.stop_raised():
        signal.raise_signal(USR1)
        signal.raise_signal(CHLD)
    signal.raise_signal(TERM)
    assert master.take() == [TERM, CHLD, USR1]


def test_an_interruption_is_no_exception_to_handle():
    """User code that catches every Exception does not catch Stop."""
    assert not issubclass(Stop, Exception)


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.001])
def test_user_code_is_interrupted_at_its_deadline(master, seconds):
    """Stop is raised in code that blocks, when its time has passed; nothing becomes pending."""
    with pytest.raises(Stop) as caught, master.deadline(seconds):
        select.select([], [], [], DEADLINE)
    assert caught.value.signum is ALRM
    assert master.take() == []


NO_ROOM = """
import resource, re
from supervisor.errors import SystemFailure
from supervisor.system.recorder import SignalRecorder
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**20, -1))
try:
    with SignalRecorder().deadline(1.0):
        print("went on")
except SystemFailure as failure:
    print(failure)
"""


def test_a_deadline_without_room_for_its_thread():
    """Where memory is limited, a system call has failed: one line, 71."""
    command = [sys.executable, "-c", NO_ROOM]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.stdout.startswith("no thread for the watchdog: "), done


def test_a_deadline_ends_with_its_block(master):
    """No timer runs on, and a late SIGALRM interrupts nobody."""
    with master.deadline(DEADLINE):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    signal.raise_signal(ALRM)
    assert master.take() == []


def test_a_deadline_does_not_make_terminations_interrupt(master):
    """Inside a deadline alone TERM is only recorded, as while a module is destroyed."""
    with master.deadline(DEADLINE):
        signal.raise_signal(TERM)
    assert master.take() == [TERM]


def test_an_inner_block_leaves_the_outer_one_in_force(master):
    """After a block that terminations interrupt, the deadline around it still holds."""

    def late():
        with master.stop_raised():
            pass
        signal.raise_signal(ALRM)

    with pytest.raises(Stop), master.deadline(DEADLINE):
        late()


def test_a_stop_that_was_swallowed_is_raised_again(master):
    """Code that catches everything has not done its work: whoever called it is told."""

    def swallow(signum):
        with contextlib.suppress(Stop):
            signal.raise_signal(signum)

    with pytest.raises(Stop), master.stop_raised():
        swallow(TERM)
    with pytest.raises(Stop), master.deadline(DEADLINE):
        swallow(ALRM)


def test_ears_are_put_back(master):
    """Handlers, mask and wakeup descriptor, each named; nothing is said where nothing changed."""
    assert master.keep_ears() == []
    signals.ignore(TERM)
    signals.block_all()
    signal.set_wakeup_fd(-1)
    changed = master.keep_ears()
    assert changed[:2] == ["wakeup descriptor", "handler of SIGTERM"]
    assert "SIGINT blocked" in changed
    assert master.keep_ears() == []
    signal.raise_signal(TERM)
    signal.raise_signal(INT)
    assert master.take() == [TERM, INT]


def test_a_blocked_signal_names_its_sender(master):
    """Our own signal is told from an operator's by the sender's pid, and taken away."""
    with signals.blocked(USR1):
        assert signals.consume(USR1) is None
        signal.raise_signal(USR1)
        assert signals.consume(USR1) == os.getpid()
        assert signals.consume(USR1) is None
    assert master.take() == []


def test_a_blocked_signal_arrives_afterwards(master):
    """Blocking delays, it does not lose."""
    with signals.blocked(USR1):
        signal.raise_signal(USR1)
        assert master.take() == []
    assert master.take() == [USR1]


@pytest.mark.parametrize(
    ("number", "name"),
    [(15, "SIGTERM"), (11, "SIGSEGV"), (40, "signal 40"), (0, "signal 0"), (99, "signal 99")],
)
def test_a_signal_has_a_name(number, name):
    """Numbers without a name are told as numbers."""
    assert signals.name_of(number) == name
