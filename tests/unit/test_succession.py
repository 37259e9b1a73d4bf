"""How a reload goes, by facts alone: what the predecessor hears of its successor, and then does."""

import pytest

from supervisor.errors import Exit
from supervisor.master.succession.messages import Ask, Done, Failed, Held, Progress, Ready, Taken
from supervisor.master.succession.state import (
    Answer,
    Dismiss,
    Kill,
    Launch,
    LetGo,
    Offer,
    Phase,
    Show,
    Succession,
    TakeBack,
    Yield,
)

READY = Ready((0, 1), "")
SERVED = [Yield(), Answer(Done(Exit.OK, ""))]


def at(phase, probation=0.0):
    """Return a reload that has come so far, at second 0."""
    made = Succession()
    steps = {
        Phase.BEGUN: lambda: made.asked(Ask(probation=probation)),
        Phase.PROBATION: lambda: made.heard(READY, 0.0),
        Phase.OFFERED: lambda: made.tick(probation),
        Phase.HELD: lambda: made.heard(Held(), 0.0),
        Phase.OVER: lambda: made.heard(Taken(), 0.0),
    }
    for step, act in steps.items():
        if made.phase is phase:
            break
        if made.phase is not step:
            act()
    assert made.phase is phase
    return made


def test_the_way():
    """Asked for, ready, offered, held, taken: one step after the other."""
    reload, ask = Succession(), Ask(("a=1",))
    assert not reload.is_under_way
    assert reload.asked(ask) == [Launch(ask)]
    assert reload.heard(Progress("imported"), 1.0) == [Show("imported")]
    assert reload.heard(READY, 2.0) == [Offer(READY)]
    assert reload.heard(Held(), 2.0) == [LetGo()]
    assert reload.is_under_way
    assert reload.heard(Taken(), 2.0) == SERVED
    assert (reload.is_under_way, reload.is_over) == (False, True)
    assert reload.died() == []


def test_a_probation():
    """It is offered the server when the time has passed, and not before."""
    reload = at(Phase.BEGUN, probation=5.0)
    assert reload.heard(READY, 1.0) == [Show("ready, on probation for 5 s")]
    assert reload.due == 6.0
    assert reload.tick(5.9) == []
    assert reload.tick(6.0) == [Offer(READY)]
    assert reload.due == float("inf")


@pytest.mark.parametrize(
    ("phase", "status", "takes_back"),
    [
        (Phase.BEGUN, Exit.START_FAILED, False),
        (Phase.PROBATION, Exit.CRASH, False),
        (Phase.OFFERED, Exit.CRASH, True),
        (Phase.HELD, Exit.CRASH, True),
    ],
)
def test_a_death_without_a_word(phase, status, takes_back):
    """Who asked hears of it; what was given away is taken back; another may be asked for."""
    reload = at(phase, probation=5.0)
    *before, answer = reload.died()
    assert before == [TakeBack()] * takes_back
    assert answer.done.status == status
    assert "successor died" in answer.done.line
    assert not reload.is_under_way
    assert reload.due == float("inf")
    assert reload.asked(Ask()) == [Launch(Ask())]


def test_the_first_reason_is_told():
    """As it fails it says why; what follows from that is no news."""
    reload = at(Phase.BEGUN)
    assert reload.heard(Failed(78, "c.toml: unknown key"), 1.0) == []
    assert reload.heard(Failed(71, "and so on"), 1.0) == []
    assert reload.died() == [Answer(Done(78, "c.toml: unknown key"))]


def test_one_that_could_not_be_started():
    """It is answered at once."""
    reload = at(Phase.BEGUN)
    assert reload.refused(Failed(71, "fork")) == [Answer(Done(71, "fork"))]
    assert reload.phase is Phase.NONE


@pytest.mark.parametrize("phase", [Phase.BEGUN, Phase.PROBATION, Phase.OFFERED])
def test_the_server_ends_meanwhile(phase):
    """Its successor is dismissed, killed when it does not go, and the answer is no success."""
    reload = at(phase, probation=5.0)
    assert reload.ending(kill_at=9.0) == [Dismiss()]
    assert reload.ending(kill_at=10.0) == []
    assert reload.due == 9.0
    assert reload.tick(9.0) == [Kill()]
    (answer,) = reload.died()
    assert answer.done == Done(Exit.NOT_RUNNING, "the server was stopped meanwhile")


def test_a_crash_meanwhile_says_why():
    """Where nobody has stopped it, the line is the crash's, and the status too."""
    reload = at(Phase.BEGUN)
    assert reload.ending(9.0, "a child died") == [Dismiss()]
    assert reload.died() == [Answer(Done(Exit.CRASH, "a child died"))]


def test_what_is_held_is_not_dismissed():
    """Between two masters there is one instant in which only the new one can go on."""
    assert at(Phase.HELD).ending(9.0) == []
    assert at(Phase.OVER).ending(9.0) == []
    assert Succession().ending(9.0) == []


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        (Phase.BEGUN, Held()),
        (Phase.BEGUN, Taken()),
        (Phase.PROBATION, Held()),
        (Phase.PROBATION, READY),
        (Phase.OFFERED, Taken()),
        (Phase.OVER, Held()),
    ],
)
def test_a_word_out_of_turn(phase, message):
    """Nothing follows from it: what a successor has not been given it cannot take."""
    reload = at(phase, probation=5.0)
    assert reload.heard(message, 1.0) == []
    assert reload.phase is phase
