"""A child's life: its hooks in order, its exit code, and all that its master learns of it.

Each is lived in a process of its own. The acts of a test happen in it, each at its hook.
"""

import os
import resource
import signal
import subprocess
import sys
from contextlib import closing
from typing import NamedTuple

import pytest

from supervisor.child import news
from supervisor.child.child import Child
from supervisor.child.life import Life
from supervisor.child.module import Module
from supervisor.child.news import News
from supervisor.child.place import Place
from supervisor.child.renewal import Limits
from supervisor.child.shared import Shared
from supervisor.child.worker import Worker
from supervisor.config.schema import Section, SectionOptions
from supervisor.errors import Exit, Stop
from supervisor.log import entries
from supervisor.log.destination import ToStderr
from supervisor.log.forms import as_text
from supervisor.scoreboard.layout import State
from supervisor.scoreboard.row import Row
from supervisor.scoreboard.view import RowView
from supervisor.system import process
from supervisor.system.descriptors import wait_for_any
from supervisor.system.recorder import SignalRecorder
from tests.support.harness import DEADLINE
from tests.support.scoreboards import board

# The other thread is the watchdog of pytest's time limit, which no child needs.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")

INIT = ["a child_init", "b child_init", "worker init"]
SERVE = ["worker run", "worker close"]
EXIT = ["b child_exit", "a child_exit"]


class TellingModule(Module):
    """Calls `at` with its name and each hook."""

    def __init__(self, name, at):
        super().__init__(None)
        self._name, self._at = name, at

    def child_init(self, child):
        self._at(f"{self._name} child_init", child)

    def child_exit(self, child):
        self._at(f"{self._name} child_exit", child)


class TellingWorker(Worker):
    """The same, of a worker."""

    def __init__(self, at):
        super().__init__(None)
        self._at = at
        self._child = None
        self.section = Section("web", SectionOptions(type="tcp"), (), False, {})

    def init(self, child):
        self._child = child
        self._at("worker init", child)

    def run(self, child):
        self._at("worker run", child)

    def close(self):
        self._at("worker close", self._child)


class Left(NamedTuple):
    """All that is left of a life."""

    code: int  # negative: the signal that it died of
    said: list[str]  # hooks, and what acts have said
    news: list[tuple[News, int]]
    box: str
    row: RowView


class Stage:
    """The master's part: all that a life is given, and the descriptors that it writes to."""

    def __init__(self, made, directory):
        self.board = made
        self.box = os.memfd_create("black-box")
        self._hears, self.says = os.pipe()
        self._reads_news, writes_news = os.pipe()
        self.place = Place(
            server="test",
            section="web",
            slot=1,
            rank=1,
            generation=1,
            master=os.getpid(),
            listeners=(),
            stop_timeout=DEADLINE,
            request_timeout=0.0,
            runtime=directory,
            tempdir=directory / "tmp" / "1" / "1",
            ready=writes_news,
            limits=Limits(),
            is_watched=False,
            black_box=self.box,
            drop_foreign=lambda: None,
            group_is_ours=False,  # true, it would end the tests
        )

    def say(self, text):
        os.write(self.says, f"{text}\n".encode())

    def live(self, acts=None, *, start=Life.live, may_finish=False, environment=None, **facts):
        """Let a child live, with these acts by hook, and facts of its place; told to stop in `run`
        unless that has an act.
        """
        acts = {"worker run": told_to_stop} | (acts or {})

        def at(hook, child):
            self.say(hook)
            if hook in acts:
                acts[hook](child)

        worker, modules = TellingWorker(at), {name: TellingModule(name, at) for name in "ab"}
        worker.may_finish, worker.environment = may_finish, environment or {}
        recorder, place = SignalRecorder(), self.place._replace(**facts)
        life = Life(Child(place, worker, modules, self.board, Shared(), recorder))

        def begin():
            recorder.install()  # the master has done that long before, not so these tests
            start(life)

        self.board.begin_slot(place.slot)
        table = {}
        process.fork_all([(place.slot, begin)], table)
        recorder.close()
        return self._left(*table)

    def _left(self, pid):
        os.close(self.says)
        os.close(self.place.ready)
        said, words = rest(self._hears), rest(self._reads_news)
        _, status, _ = os.wait4(pid, 0)
        with os.fdopen(self.box, "rb") as box:
            box.seek(0)
            text = box.read().decode()
        code = os.waitstatus_to_exitcode(status)
        lines = said.decode().splitlines()
        return Left(code, lines, [*news.decode(words)], text, self.board.row(self.place.slot))


@pytest.fixture
def stage(tmp_path):
    """Of the child in slot 1."""
    with closing(board(tmp_path)) as made:
        yield Stage(made, tmp_path)


def rest(descriptor):
    """All that is written into a pipe until nobody holds its other end any more."""
    data = b""
    while True:
        assert wait_for_any(DEADLINE, descriptor), data
        part = os.read(descriptor, 65_536)
        if not part:
            os.close(descriptor)
            return data
        data += part


def told_to_stop(_child=None):
    signal.raise_signal(signal.SIGTERM)


def fail(_child=None):
    raise LookupError("told to fail")


def leave(_child):
    raise SystemExit(0)


def stop(_child):
    raise Stop(signal.SIGTERM)


def swallow(_child):
    """Do not stop though told to, as code with a bare except does."""
    try:
        told_to_stop()
    except Stop:
        return


def stop_when_told(child):
    told_to_stop()
    child.poll()


def nothing(_child):
    """Return at once."""


def live_here(life):
    """As with --dont-fork, but in a process that the tests can do without."""
    process.leave(life.live_here())


def test_hooks_have_an_order(stage):
    """Modules before the worker, and in reverse at the end; then it leaves with 0."""
    left = stage.live()
    assert left.said == INIT + SERVE + EXIT
    assert (left.code, left.box, left.news) == (Exit.OK, "", [(News.READY, 1)])


@pytest.mark.parametrize(
    ("act", "may_finish", "code", "last_words"),
    [
        (nothing, False, Exit.CRASH, "TellingWorker.run() returned without being told to\n"),
        (nothing, True, Exit.OK, ""),
        (told_to_stop, True, Exit.OK, ""),
        (stop_when_told, False, Exit.OK, ""),
        (stop, False, Exit.CRASH, "TellingWorker.run() returned without being told to\n"),
        (fail, False, Exit.CRASH, "LookupError: told to fail\n"),
        (fail, True, Exit.CRASH, "LookupError: told to fail\n"),
        (leave, False, Exit.CRASH, "SystemExit: 0\n"),
    ],
)
def test_how_run_ends(stage, act, may_finish, code, last_words):
    """Early it is a death, unless the worker may finish; worker and modules are closed."""
    left = stage.live({"worker run": act}, may_finish=may_finish)
    assert left.code == code
    assert left.box.endswith(last_words)
    assert bool(left.box) == bool(last_words)
    assert (left.row.state is State.FINISHED) == (act is nothing and may_finish)
    assert left.said == INIT + SERVE + EXIT


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ("a child_init", INIT[:1]),
        ("b child_init", [*INIT[:2], "a child_exit"]),
        ("worker init", INIT + EXIT),
    ],
)
def test_an_init_that_raises_is_a_start_failure(stage, hook, said):
    """Only modules whose init succeeded are left; nobody hears that the child is ready."""
    left = stage.live({hook: fail})
    assert (left.code, left.said, left.news) == (Exit.START_FAILED, said, [])
    assert left.box.endswith("LookupError: told to fail\n")
    assert not left.row.is_ready


@pytest.mark.parametrize("act", [told_to_stop, swallow])
def test_a_stop_in_init(stage, act):
    """Raises Stop in it, and obeys also where that was swallowed: no failure, and no readiness."""
    left = stage.live({"worker init": act})
    assert (left.code, left.said, left.box) == (Exit.OK, INIT + EXIT, "")
    assert left.news == []
    assert not left.row.is_ready


def test_a_stop_before_it_is_a_child(stage):
    """The signal waits until the child has its own handlers; then no hook begins."""
    left = stage.live(drop_foreign=told_to_stop)
    assert (left.code, left.said, left.box, left.news) == (Exit.OK, [], "", [])


def test_a_failure_before_it_is_a_child(stage):
    """Is told too, before there are handlers for faults."""
    left = stage.live(drop_foreign=fail)
    assert (left.code, left.said) == (Exit.CRASH, [])
    assert left.box.endswith("LookupError: told to fail\n")


@pytest.mark.parametrize(
    ("hook", "event"),
    [
        ("worker close", "worker close failed"),
        ("b child_exit", "child_exit failed module=TellingModule"),
        ("a child_exit", "child_exit failed module=TellingModule"),
    ],
)
def test_a_failure_at_the_end_is_logged(stage, capfd, hook, event):
    """It neither changes the code nor keeps the other hooks from running."""
    left = stage.live({hook: fail})
    assert (left.code, left.said, left.box) == (Exit.OK, INIT + SERVE + EXIT, "")
    log = capfd.readouterr().err
    assert f"ERROR web/1[{left.row.pid}] {event}\n" in log
    assert "LookupError: told to fail" in log


def test_the_variables_of_the_section(stage):
    """Are set before any hook."""
    acts = {"a child_init": lambda _: stage.say(os.environ["SHOP"])}
    assert "blue" in stage.live(acts, environment={"SHOP": "blue"}).said


def test_a_ready_child(stage):
    """In `run` its row says so; the pipe is closed, for it has no more news."""

    def tell(child):
        row = child.row.view()
        is_open = os.path.exists(f"/proc/self/fd/{stage.place.ready}")
        stage.say(f"{row.state.name} {row.is_ready} {row.pid == os.getpid()} {is_open}")
        told_to_stop()

    left = stage.live({"worker run": tell})
    assert "IDLE True True False" in left.said


def test_a_stop_just_before_it_is_ready(stage):
    """The child is stopping, and does not say that it is idle."""

    def stop_at_ready(frame, event, _):
        if event == "call" and frame.f_code is Row.mark_ready.__code__:
            told_to_stop()

    acts = {
        "worker init": lambda _: sys.setprofile(stop_at_ready),
        "worker run": lambda child: stage.say(child.row.view().state.name),
    }
    left = stage.live(acts)
    assert (left.code, left.said) == (Exit.OK, [*INIT, "worker run", "STOPPING", SERVE[1], *EXIT])


def test_a_child_of_a_generation_that_is_renewed(stage):
    """Keeps the pipe, and says there when it has had requests enough."""

    def serve(child):
        with child.request():
            pass
        told_to_stop()

    left = stage.live({"worker run": serve}, limits=Limits(requests=1))
    assert left.news == [(News.READY, 1), (News.REQUESTS, 1)]


def test_a_child_that_is_watched(stage):
    """Says nothing of itself: its Watch does, when it has become another program."""
    left = stage.live(is_watched=True)
    assert (left.code, left.news, left.row.is_ready) == (Exit.OK, [], False)


def test_a_master_that_waits_for_nobody_any_more(stage):
    """It has closed its end of the pipe; the child lives on until it is told to stop."""
    reader, writer = os.pipe()
    os.close(reader)
    left = stage.live(ready=writer)
    os.close(writer)
    assert (left.code, left.said, left.box) == (Exit.OK, INIT + SERVE + EXIT, "")


def test_last_words_are_bounded(stage):
    """The end of them is kept, which names the exception; all is text that can be written."""

    def fail_at_length(_child):
        raise LookupError("x" * 100_000 + "\udc80 end")

    left = stage.live({"worker run": fail_at_length})
    assert len(left.box) == 32_768
    assert left.box.endswith("xx\\udc80 end\n")


@pytest.mark.parametrize("signum", [signal.SIGABRT, signal.SIGQUIT, signal.SIGALRM])
def test_a_fault_and_a_deadline_are_told(stage, signum):
    """The black box has the place in the code; the child dies of the signal."""

    def die(_child):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.raise_signal(signum)

    left = stage.live({"worker run": die})
    assert left.code == -signum
    assert "in die\n" in left.box


@pytest.mark.parametrize("is_watched", [False, True])
def test_a_child_can_be_asked_for_its_stacks(stage, is_watched):
    """By a pipe beside its temporary directory; not one that becomes another program."""
    pipe = stage.place.tempdir.with_name("1.stack")
    left = stage.live({"worker init": lambda _: stage.say(pipe.is_fifo())}, is_watched=is_watched)
    assert str(not is_watched) in left.said


def test_a_file_of_the_child_is_removed(stage, tmp_path):
    """At its end, unless another file has taken its name since the child was ready."""
    kept, gone, other = tmp_path / "kept", tmp_path / "gone", tmp_path / "other"

    def make(child):
        for path in (gone, kept):
            child.resources.add_path(path)
            path.touch()

    def replace(_child):
        other.touch()
        other.replace(kept)
        told_to_stop()

    left = stage.live({"worker init": make, "worker run": replace})
    assert (left.code, kept.exists(), gone.exists()) == (Exit.OK, True, False)


def test_a_line_of_statistics(stage, capfd):
    """At USR1, with the figures of this child alone; another USR1 meanwhile adds none."""

    def again(entry, origin):
        signal.raise_signal(signal.SIGUSR1)
        return as_text(entry, origin)

    def serve(child):
        entries.log.configure("info", ToStderr(again), says_json=False)
        with child.request():
            signal.raise_signal(signal.SIGUSR1)
        told_to_stop()

    left = stage.live({"worker run": serve})
    line = f"INFO web/1[{left.row.pid}] statistics state=busy requests=0 errors=0 active=1 busy="
    assert capfd.readouterr().err.count(line) == 1
    assert left.code == Exit.OK


def test_an_orphan_leaves_nothing(stage):
    """A child whose master is dead stops, and kills the processes that it has begun."""
    reader, writer = os.pipe()

    def begin_another():
        command = ["cat"]  # which ends with this test at the latest
        subprocess.Popen(command, stdin=reader, stdout=stage.says, pass_fds=[stage.place.ready])

    left = stage.live(drop_foreign=begin_another, master=os.getpid() + 1)
    os.close(reader)
    os.close(writer)
    assert (left.code, left.said) == (Exit.OK, [])


@pytest.mark.parametrize(("act", "code"), [(nothing, Exit.OK), (fail, Exit.CRASH)])
def test_live_here(stage, act, code):
    """With --dont-fork all is as in a child, and the caller gets the code."""
    left = stage.live({"worker run": act}, start=live_here, may_finish=True)
    assert (left.code, left.said, left.row.is_ready) == (code, INIT + SERVE + EXIT, True)
    assert left.box.endswith("LookupError: told to fail\n" if code else "")


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ("b child_init", [*INIT[:2], "a child_exit"]),
        ("worker run", INIT + SERVE + EXIT),
        ("worker close", INIT + SERVE + EXIT),
        ("b child_exit", INIT + SERVE + EXIT),
    ],
)
def test_a_life_that_is_abandoned(stage, hook, said):
    """With --dont-fork the handler of a signal ends it, at whatever hook: each of what was
    initialised is closed once.
    """
    lives = []

    def live(life):
        lives.append(life)
        life.live_here()
        raise AssertionError("it was abandoned")

    def abandon(_child):
        lives[0].abandon()
        process.leave(Exit.OK)

    left = stage.live({hook: abandon}, start=live)
    assert (left.code, left.said) == (Exit.OK, said)


def test_a_life_that_ended_and_is_abandoned(stage):
    """The worker returned by itself: nothing is closed again."""

    def live(life):
        life.live_here()
        life.abandon()

    left = stage.live({"worker run": nothing}, start=live, may_finish=True)
    assert left.said == INIT + SERVE + EXIT
