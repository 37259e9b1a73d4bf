"""The table of the children: facts in, verdicts out, without any process."""

import signal

import pytest

from supervisor.errors import Exit
from supervisor.master.cause import Cause
from supervisor.master.children import Children
from supervisor.master.policy import Policy
from supervisor.master.standing import GRACE
from supervisor.master.verdicts import (
    Announce,
    Begin,
    Bury,
    Death,
    Discard,
    Dump,
    End,
    Ended,
    Fork,
    Kill,
    Linger,
    Renew,
    RenewalFailed,
    Restart,
    Tell,
)

TERM, INT, PWR = signal.SIGTERM, signal.SIGINT, signal.SIGPWR
KILLED = Ended(None, message="SIGKILL")
WELL = Ended(0)
DONE = Ended(0, finished=True)
CRASH = Cause("child-died", Exit.CRASH, message="SIGKILL")


class Server:
    """A table with its clock; pids are 100 * generation + slot."""

    def __init__(self, *, slots=2, exclusive=(), **policy):
        usual = {
            "restarts": True,
            "start_timeout": 30.0,
            "stop_timeout": 10.0,
            "crash_timeout": 2.0,
            "drain_delay": 0.0,
            "is_exclusive": False,
            "renew_after": lambda: float("inf"),
        }
        self.children = Children(Policy(**usual | policy))
        self.slots, self.exclusive = slots, exclusive
        self.now = 1000.0
        self.preparing = 0.0  # s from the decision to fork to the first fork

    def begin(self):
        """Boot: the first generation is asked for."""
        return self.obey(self.children.begin(self.now))

    def obey(self, verdicts):
        """Perform what the master performs at once; return all verdicts, in order."""
        performed = []
        queue = list(verdicts)
        while queue:
            verdict = queue.pop(0)
            performed.append(verdict)
            if isinstance(verdict, Begin):
                made = self.children.made(
                    verdict.number, range(self.slots), self.exclusive, self.now
                )
                queue += made
            elif isinstance(verdict, Fork):
                pids = {100 * verdict.number + slot: slot for slot in verdict.slots}
                self.now += self.preparing
                self.children.forked(verdict.number, pids, self.now, self.now)
        return performed

    def ready(self, number, *slots):
        """Children become ready, 0.01 s after now."""
        self.now += 0.01
        found = []
        for slot in slots or range(self.slots):
            found += self.obey(self.children.ready(number, slot, self.now))
        return found

    def died(self, pid, ended=KILLED):
        return self.obey(self.children.died(pid, ended, self.now))

    def tick(self, seconds):
        self.now += seconds
        return self.obey(self.children.tick(self.now))

    def signalled(self, signum):
        return self.obey(self.children.signalled(signum, self.now))

    @property
    def left(self):
        """Seconds to the next deadline."""
        return self.children.next_deadline() - self.now


@pytest.fixture
def serving():
    """Return a server whose first generation is ready, and was for 100 s."""

    def make(**options):
        server = Server(**options)
        server.begin()
        server.ready(1)
        server.now += 100
        return server

    return make


def kinds(verdicts):
    """Return the types of the verdicts, in order."""
    return [type(verdict) for verdict in verdicts]


def test_a_start_is_begin_fork_announce():
    """The first generation is made, forked, and announced when the last child is ready."""
    server = Server()
    assert server.begin() == [Begin(1), Fork(1, frozenset({0, 1}))]
    assert server.ready(1, 0) == []
    assert server.ready(1, 1) == [Announce(1)]
    assert server.children.next_deadline() == float("inf")


def test_a_child_that_dies_before_it_is_ready_ends_the_start():
    """The first generation is never tried again."""
    server = Server()
    server.begin()
    server.ready(1, 0)
    buried, end = server.died(101)
    assert buried == Bury(1, 1, 101, Death.CAUSE)
    assert end == End(Cause("start-failure", Exit.START_FAILED, message="SIGKILL"))
    assert server.died(100, WELL) == [Bury(1, 0, 100, Death.CONSEQUENCE), Discard(1)]
    assert server.children.is_over


def test_start_timeout_dumps_and_then_gives_up():
    """A child that is late writes down where it hangs; one that is deaf to that ends the start."""
    server = Server()
    server.begin()
    server.ready(1, 0)
    assert server.tick(30) == [Dump(1, frozenset({1}))]
    assert server.left == pytest.approx(GRACE)
    (end,) = server.tick(GRACE)
    assert end.cause.status == Exit.START_FAILED
    assert "slot 1 not ready" in end.cause.message


def test_a_crash_without_restart_ends_the_server(serving):
    """Whoever restarts us waits: the others have crash_timeout only."""
    server = serving(restarts=False)
    buried, end = server.died(100)
    assert buried.death is Death.CAUSE
    assert end == End(CRASH)
    assert server.left == 2.0
    assert server.tick(2.0) == [Kill((101,), "stop-timeout")]
    assert server.died(101) == [Bury(1, 1, 101, Death.CONSEQUENCE), Discard(1)]
    assert server.children.is_over


def test_a_crash_is_followed_at_once_beside_the_survivors(serving):
    """The next generation does not wait for those that drain, and these have stop_timeout."""
    server = serving()
    found = server.died(100)
    assert found == [
        Bury(1, 0, 100, Death.CAUSE),
        Tell(1, (101,), "child-died"),
        Restart(2, 0.0, CRASH),
        Begin(2),
        Fork(2, frozenset({0, 1})),
    ]
    assert server.ready(2) == [Announce(2)]
    assert server.left == pytest.approx(10.0 - 0.01)
    assert server.died(101, WELL) == [Bury(1, 1, 101, Death.CONSEQUENCE), Discard(1)]
    assert server.children.lives.serving.number == 2


def test_two_deaths_at_once_are_one_crash(serving):
    """The second one is a consequence: its generation was told already."""
    server = serving()
    server.died(100)
    assert server.died(101) == [Bury(1, 1, 101, Death.CONSEQUENCE)]
    assert list(server.children.lives) == [2]


def test_modules_are_destroyed_when_the_next_generation_is_ready(serving):
    """Theirs is user code: it may take its time, and nobody waits for it."""
    server = serving()
    server.died(100)
    server.died(101)
    assert server.tick(1.0) == []
    assert server.ready(2) == [Announce(2), Discard(1)]
    assert server.tick(1.0) == []


def test_modules_of_a_pause_are_destroyed_after_it(serving):
    """The fork that is due does not wait for them either."""
    server = Server()
    server.begin()
    server.ready(1)
    server.died(100)
    assert kinds(server.died(101)) == [Bury]
    assert kinds(server.tick(server.left)) == [Begin, Fork]
    assert server.ready(2)[-1] == Discard(1)


def test_modules_of_a_failed_start_do_not_gather(serving):
    """They hold what the next one may need, and nothing was served by them."""
    server = serving()
    server.died(101)
    server.died(100)
    server.died(200)
    assert server.died(201)[-1] == Discard(2)
    server.tick(server.left)
    assert server.ready(3) == [Announce(3), Discard(1)]


def test_at_the_end_all_modules_are_destroyed(serving):
    """No generation is awaited any more."""
    server = serving()
    server.died(100)
    server.died(101)
    assert server.signalled(TERM)[-1] == Discard(1)


def test_back_off_is_a_tenth_of_the_time(serving):
    """A generation that took 0.01 s to start and lived for less than 0.1 s is followed later."""
    server = serving()
    server.died(100)
    server.ready(2)
    server.now += 0.04
    restart = server.died(200)[-1]
    assert restart == Restart(3, pytest.approx(0.06), CRASH)
    server.died(201, WELL)
    assert kinds(server.tick(0.061)) == [Begin, Fork]


def test_back_off_counts_from_the_first_fork(serving):
    """Not from the decision: what is done before each fork is no child's start."""
    server = serving()
    server.preparing = 0.5
    server.died(100)
    server.ready(2)
    server.now += 0.04
    assert server.died(200)[-1].wait == pytest.approx(0.06)


def test_back_off_is_at_most_a_second(serving):
    """However long the start took."""
    server = serving()
    server.died(100)
    server.now += 20
    server.ready(2)
    assert server.died(200)[-1].wait == 1.0


def test_a_later_generation_that_cannot_start_is_tried_again(serving):
    """After 0.1 s, doubling to 30 s; once one is ready it is forgotten."""
    server = serving()
    server.died(100)
    waits = []
    for number in range(2, 13):
        found = server.died(100 * number)
        waits.append(next(one.wait for one in found if isinstance(one, Restart)))
        server.died(100 * number + 1, WELL)
        server.tick(waits[-1] + 1e-6)
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0])
    server.ready(13)
    server.now += 50
    assert server.died(1300)[2].wait == 0.0


def test_a_generation_that_cannot_be_made_is_tried_again(serving):
    """No memory, a full disk: it backs off, and its predecessor drains meanwhile."""
    server = serving()
    server.children.died(100, KILLED, server.now)
    found = server.children.failed(2, Cause.start_failure("no room", Exit.SYSTEM), server.now)
    assert kinds(found) == [Tell, Restart, Discard]
    assert server.left == pytest.approx(0.1)


def test_two_generations_drain_at_most(serving):
    """One more death kills the oldest."""
    server = serving(slots=3)
    for number in (1, 2):
        server.died(100 * number)
        server.ready(number + 1)
        server.now += 100
        server.children.lives[number].members[100 * number + 1].kill_at = None
    found = server.died(300)
    assert Kill((101, 102), "too-many-generations") in found
    assert Kill((201, 202), "too-many-generations") not in found


def test_term_during_a_switch_ends_the_server(serving):
    """All generations are told, and the status is that of the signal."""
    server = serving()
    server.died(100)
    assert server.signalled(TERM) == [End(Cause.by_signal(TERM))]
    for pid in (101, 200, 201):
        server.died(pid, WELL)
    assert server.children.is_over


def test_term_during_back_off_ends_the_server(serving):
    """Also where nobody lives."""
    server = serving(slots=1)
    server.died(100)
    server.died(200)
    assert kinds(server.signalled(INT)) == [End, Discard]
    assert server.children.is_over
    assert server.children.cause == Cause.by_signal(INT)


@pytest.mark.parametrize(("first", "second"), [(TERM, TERM), (INT, TERM), (PWR, TERM), (TERM, INT)])
def test_a_second_order_cuts_the_grace_short(serving, first, second):
    """TERM or INT, while the server stops for a signal."""
    server = serving()
    server.signalled(first)
    assert server.signalled(second) == [Kill((100, 101), "second-signal")]
    assert server.children.cause == Cause.by_signal(first)


def test_after_a_crash_the_second_order_cuts(serving):
    """The first one ends a server that might have meant to go on; it ends already."""
    server = serving(restarts=False)
    server.died(100)
    assert server.signalled(TERM) == []
    assert server.signalled(TERM) == [Kill((101,), "second-signal")]
    assert server.children.cause.status == Exit.CRASH


def test_who_was_told_and_late_is_killed_once(serving):
    """At stop_timeout, each generation by its own."""
    server = serving()
    server.died(100)
    server.ready(2)
    assert server.tick(10) == [Kill((101,), "stop-timeout")]
    assert server.tick(10) == []


def test_the_server_ends_when_all_jobs_are_done(serving):
    """Only tasks may finish; when every child has, the status is 0."""
    server = serving()
    assert server.died(100, DONE) == [Bury(1, 0, 100, Death.FINISHED)]
    assert server.died(101, DONE)[:2] == [
        Bury(1, 1, 101, Death.FINISHED),
        End(Cause("finished")),
    ]


def test_exit_0_without_an_order_is_a_death(serving):
    """An operator sent TERM to one child alone."""
    assert serving().died(100, WELL)[0].death is Death.CAUSE


def test_a_stranger_is_nobodys_death(serving):
    """Orphans that were adopted are reaped and forgotten."""
    assert serving().died(4711) == []


# Renewal.


def test_renewal_tells_the_old_when_all_of_the_new_is_ready(serving):
    """And not before."""
    server = serving()
    assert server.obey(server.children.wants_renewal(1, "requests", server.now)) == [
        Renew(1, "requests"),
        Begin(2),
        Fork(2, frozenset({0, 1})),
    ]
    assert server.ready(2, 0) == []
    assert server.ready(2, 1) == [Announce(2), Tell(1, (100, 101), "renewal")]


def test_one_renewal_at_a_time(serving):
    """Who asks meanwhile, or asks for a generation that drains, is not heard."""
    server = serving()
    server.obey(server.children.wants_renewal(1, "requests", server.now))
    assert server.children.wants_renewal(1, "memory", server.now) == []
    server.ready(2)
    assert server.children.wants_renewal(1, "memory", server.now) == []


def test_a_generation_is_renewed_by_age():
    """At the age that the policy draws, with its jitter."""
    server = Server(renew_after=lambda: 60.0)
    server.begin()
    server.ready(1)
    assert server.left == pytest.approx(60.0)
    assert server.tick(60.0) == [Renew(1, "age"), Begin(2), Fork(2, frozenset({0, 1}))]


def test_a_renewal_that_fails_leaves_the_old_one(serving):
    """It is tried again with back-off."""
    server = serving()
    server.obey(server.children.wants_renewal(1, "requests", server.now))
    found = server.died(200)
    assert kinds(found) == [Bury, Tell, RenewalFailed]
    assert server.children.lives.serving.number == 1
    server.died(201, WELL)
    assert kinds(server.tick(0.1)) == [Renew, Begin, Fork]
    assert kinds(server.died(300)) == [Bury, Tell, RenewalFailed]
    assert server.left == pytest.approx(0.2)


def test_a_crash_during_a_renewal_needs_no_other_generation(serving):
    """The one that comes already is the next."""
    server = serving()
    server.obey(server.children.wants_renewal(1, "requests", server.now))
    assert kinds(server.died(100)) == [Bury, Tell]
    assert server.ready(2) == [Announce(2)]


# Exclusive children and modules.


def test_exclusive_children_wait_for_their_predecessors(serving):
    """These have crash_timeout after a crash; the others do not wait."""
    server = serving(slots=3, exclusive={2})
    found = server.died(100)
    assert found[-1] == Fork(2, frozenset({0, 1}))
    assert server.ready(2, 0, 1) == [Announce(2, is_whole=False)]
    assert server.tick(2.0) == [Kill((102,), "stop-timeout")]
    assert server.died(102) == [
        Bury(1, 2, 102, Death.CONSEQUENCE),
        Fork(2, frozenset({2})),
    ]
    assert server.ready(2, 2) == []
    assert server.died(101, WELL)[-1] == Discard(1)


def test_exclusive_children_are_told_late_in_a_renewal(serving):
    """When the rest of the next generation is ready."""
    server = serving(slots=2, exclusive={1})
    server.obey(server.children.wants_renewal(1, "age", server.now))
    assert server.ready(2, 0) == [Announce(2, is_whole=False), Tell(1, (100, 101), "renewal")]
    assert server.died(101, WELL)[-1] == Fork(2, frozenset({1}))


def test_a_generation_of_exclusive_children_alone(serving):
    """It tells its predecessor at once, for nobody is waited for, and is ready when they are."""
    server = serving(slots=1, exclusive={0})
    server.obey(server.children.wants_renewal(1, "age", server.now))
    assert server.children.lives[1].is_told
    found = server.died(100, WELL)
    assert Fork(2, frozenset({0})) in found
    assert server.ready(2) == [Announce(2), Discard(1)]


def test_an_exclusive_child_that_is_late_is_a_crash(serving):
    """start_timeout runs from its fork."""
    server = serving(slots=2, exclusive={1})
    server.died(100)
    server.ready(2, 0)
    server.died(101, WELL)
    assert server.left == pytest.approx(30.0)
    assert server.tick(30.0) == [Dump(2, frozenset({1}))]
    assert kinds(server.died(201))[:3] == [Bury, Tell, Restart]


def test_an_exclusive_module_holds_the_next_generation_back(serving):
    """Until the last child is gone and the modules are destroyed."""
    server = serving(is_exclusive=True)
    assert kinds(server.died(100)) == [Bury, Tell, Restart]
    assert server.left == 2.0
    assert server.tick(2.0) == [Kill((101,), "stop-timeout")]
    assert server.died(101)[-1] == Discard(1)
    assert server.tick(0) == []
    server.children.discarded(1)
    assert kinds(server.tick(0)) == [Begin, Fork]


# drain_delay.


def test_drain_delay_goes_on_as_before(serving):
    """And ends the server by the signal that began it."""
    server = serving(drain_delay=5.0)
    assert server.signalled(TERM) == [Linger(TERM)]
    assert server.left == 5.0
    assert server.tick(5.0) == [End(Cause.by_signal(TERM))]


def test_a_second_signal_ends_the_delay_and_counts_as_the_first(serving):
    """One more cuts the grace short."""
    server = serving(drain_delay=5.0)
    server.signalled(TERM)
    assert server.signalled(INT) == [End(Cause.by_signal(TERM))]
    assert kinds(server.signalled(INT)) == [Kill]


def test_a_crash_within_the_delay_is_a_crash(serving):
    """With its status, and no generation follows."""
    server = serving(drain_delay=5.0)
    server.signalled(TERM)
    assert server.died(100)[-1] == End(CRASH)


def test_ctrl_c_in_the_delay_takes_the_children_along(serving):
    """The terminal's INT reached them as well: their exits are no crashes."""
    server = serving(drain_delay=5.0)
    server.signalled(INT)
    assert server.died(100, WELL) == [Bury(1, 0, 100, Death.CONSEQUENCE)]
    assert server.died(101, WELL)[1] == End(Cause.by_signal(INT))


def test_a_signal_before_all_is_ready_has_no_delay():
    """Nobody serves yet."""
    server = Server(drain_delay=5.0)
    server.begin()
    assert server.signalled(TERM) == [End(Cause.by_signal(TERM))]


# Reload.


def test_who_has_handed_over_ends_well(serving):
    """When all that drains is gone."""
    server = serving()
    assert kinds(server.children.handed_over(server.now)) == [Tell]
    assert server.left == 10.0
    assert server.children.cause.status is Exit.OK


def test_the_death_of_the_successor_is_a_crash(serving):
    """The server is gone: what drains has the time of a crash, and the status is a crash's."""
    server = serving()
    server.children.handed_over(server.now)
    server.children.bereaved(server.now)
    assert server.left == 2.0
    assert server.children.cause.status is Exit.CRASH
