"""The modules of a generation: made in order, destroyed in reverse, each once."""

import signal

import pytest

from supervisor.child.module import Module
from supervisor.child.registry import LoadedModule
from supervisor.config.schema import Options
from supervisor.errors import StartError, Stop
from supervisor.master.modules import Modules
from supervisor.system.recorder import SignalRecorder
from supervisor.system.signals import TABLE
from tests.support.harness import DEADLINE

# The recorder takes SIGALRM: the time limit must not rest on it.
pytestmark = pytest.mark.timeout(method="thread")


@pytest.fixture
def modules():
    """Nothing made yet; the signals are given back at the end."""
    before = {row.signum: signal.getsignal(row.signum) for row in TABLE}
    recorder = SignalRecorder()
    recorder.install()
    yield Modules(recorder)
    recorder.close()
    for number, action in before.items():
        signal.signal(number, action)  # noqa: TID251 - no other way back


@pytest.fixture
def make(modules):
    """Make a module that notes its life in `life`, and raises what it is given in a hook."""
    life = []

    def init(name, by=DEADLINE, **raised):
        class Noted(Module):
            def init(self, server):
                life.append(f"init {name}")
                if "init" in raised:
                    raise raised["init"]

            def destroy(self):
                life.append(f"destroy {name}")
                if "destroy" in raised:
                    raise raised["destroy"]

        loaded = LoadedModule(name, Noted, Options())
        modules.init(name, loaded, lambda name: None, by=by + 2**31)

    init.life = life
    return init


def test_they_are_destroyed_in_reverse_and_once(modules, make):
    """However often it is asked for."""
    for name in ("a", "b"):
        make(name)
    modules.destroy(DEADLINE)
    modules.destroy(DEADLINE)
    assert make.life == ["init a", "init b", "destroy b", "destroy a"]


def test_one_that_raises_in_init_is_not_destroyed(modules, make):
    """The start has failed; those before it are."""
    make("a")
    with pytest.raises(StartError, match=r"modules\.b: init failed: ValueError: no"):
        make("b", init=ValueError("no"))
    modules.destroy(DEADLINE)
    assert make.life[-1] == "destroy a"
    assert "destroy b" not in make.life


def test_one_that_raises_in_destroy_stops_nobody(modules, make):
    """The next one runs."""
    make("a")
    make("b", destroy=RuntimeError("no"))
    modules.destroy(DEADLINE)
    assert make.life[-2:] == ["destroy b", "destroy a"]


def test_an_order_to_stop_passes(make):
    """It is no failure of the module."""
    with pytest.raises(Stop):
        make("a", init=Stop(signal.SIGTERM))
