"""A child that tells what it does now: frames of what is awaited, its answer, and its text."""

import asyncio
import os
import signal
import sys
from contextlib import closing

import msgspec
import pytest

from supervisor.child import telling
from supervisor.child.stacks import frames_of, stack_of
from supervisor.child.telling import Doing, Tasks, Thread
from supervisor.scoreboard.layout import State
from supervisor.scoreboard.reader import Slot
from supervisor.system import observe, process, stack_pipe
from supervisor.system.stack_pipe import StackPipe
from supervisor.views.asking import Answer, parted
from supervisor.views.doing import threads_of, told
from tests.support.scoreboards import board, write


class Awaited:
    """An awaitable that is none of Python's own."""

    def __init__(self, awaited):
        self._awaited = awaited

    def __await__(self):
        return self._awaited.__await__()


async def never():
    await asyncio.Event().wait()


async def parts():
    await never()
    yield 1


async def closing_parts():
    made = parts()
    try:
        await anext(made)
    finally:
        await made.aclose()


async def each():
    async for _ in parts():
        pass


async def next_with_default():
    await anext(parts(), None)


async def wrapped():
    await Awaited(never())


async def gathered():
    await asyncio.gather(never())


def waiting(make):
    """A coroutine that has run until it waits, its loop, and what it waits in."""

    async def names():
        task = asyncio.create_task(make())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        frames = frames_of(task.get_coro())
        text = stack_of(task.get_coro())
        task.cancel()
        await asyncio.wait([task])
        return [frame.f_code.co_name for frame in frames], text

    return asyncio.run(names())


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (never, ["never", "wait"]),
        (each, ["each", "parts", "never", "wait"]),
        (closing_parts, ["closing_parts", "parts", "never", "wait"]),
        (next_with_default, ["next_with_default", "parts", "never", "wait"]),
        (wrapped, ["wrapped", "never", "wait"]),
        (gathered, ["gathered"]),
    ],
)
def test_the_chain_of_what_is_awaited(make, expected):
    """Outermost first, also through what has no attribute that leads on."""
    names, text = waiting(make)
    assert names == expected
    assert text.count("  File ") == len(expected)


def answered(pipe):
    """The JSON of the answer that stands in the pipe."""
    text = os.read(pipe, 1 << 20)
    return msgspec.json.decode(parted(text)[1], type=Doing)


@pytest.fixture
def pipe():
    """Both ends of a pipe that takes in a whole answer."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_tasks_at_one_place_are_told_once(pipe):
    """With their number and the first names; the one that runs is told from those that wait."""
    reader, writer = pipe

    async def tell():
        tasks = [asyncio.create_task(never(), name=f"n{number}") for number in range(500)]
        await asyncio.sleep(0)
        telling._Teller(writer)(0, sys._getframe())
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    asyncio.run(tell())
    doing = answered(reader)
    running, many = sorted(doing.tasks, key=lambda one: one.count)
    assert (running.count, running.is_running) == (1, True)
    assert (many.count, many.is_running, len(many.names)) == (500, False, 3)
    assert many.frames[1].endswith(" in never")
    assert doing.threads[0].name == "MainThread"
    assert " in test_tasks_at_one_place_are_told_once.<locals>.tell" in doing.threads[0].frames[0]


def test_an_answer_is_bounded():
    """Kinds of tasks that have no room are counted."""
    kind = Tasks(7, ("t",), False, ("x" * 1000,) * 20)
    data = telling._encoded(Doing(tasks=(kind,) * 40))
    doing = msgspec.json.decode(data, type=Doing)
    assert len(data) <= 65_536
    assert 0 < len(doing.tasks) < 40
    assert len(doing.tasks) * 7 + doing.left_out == 40 * 7
    huge = Doing(threads=(Thread("t", ("x" * 100_000,)),))
    assert msgspec.json.decode(telling._encoded(huge), type=Doing).failure == "too much"


def test_a_failure_is_told(pipe):
    """Nothing is raised in the code that the signal interrupted."""
    reader, writer = pipe
    telling._Teller(writer)(0, object())
    assert answered(reader).failure.startswith("AttributeError")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (b"", (b"", None)),
        (b"thread", (b"thread", None)),
        (b"thread\0{", (b"thread", None)),
        (b"thread\0{}\0", (b"thread", b"{}")),
        (b"thr\0{}\0ead", (b"thread", b"{}")),
        (b"\0old\0thread", (b"thread", b"old")),
        (b"\0old\0thread\0new\0", (b"thread", b"new")),
    ],
)
def test_the_parts_of_an_answer(text, parts):
    """The JSON may come in the midst of the other; the newest counts."""
    assert parted(text) == parts


def test_threads_of_a_text():
    """As faulthandler writes them; frames of the master are left out."""
    text = (
        'Thread 0x00007f01 (most recent call first):\n  File "a.py", line 1 in f\n\n'
        'Current thread 0x00007f02 (most recent call first):\n  File "b.py", line 2 in g\n'
        f'  File "/x/process.py", line 3 in {process.fork_all.__name__}\n  File "m", line 1 in m\n'
    )
    assert threads_of(text) == [
        Thread("0x7f01", ('  File "a.py", line 1 in f',)),
        Thread("0x7f02", ('  File "b.py", line 2 in g',)),
    ]
    assert threads_of("garbage") == []


def test_the_text_of_an_answer(tmp_path):
    """Which child, its threads, its tasks, what is missing; nothing that a terminal would obey."""
    with closing(board(tmp_path)) as made:
        write(made, 0, State.IDLE, PID=4711)
        slot = Slot(0, "web", made.row(0))
        kinds = (Tasks(1, ("a",), True, ()), Tasks(9, ("b", "c", "d\x1b[2J"), False, ("  File x",)))
        doing = Doing((Thread("MainThread", ("  File y",)),), kinds, 12)
        lines = told(Answer(slot, "", doing, "late"), is_whole=True).splitlines()
    assert lines[0].startswith("0 web pid 4711 idle ")
    assert lines[1:] == [
        "  thread MainThread:",
        "    File y",
        "  task a runs:",
        "  9 tasks wait: b, c, d\N{REPLACEMENT CHARACTER}[2J, ...:",
        "    File x",
        "  12 more tasks",
        "  late",
    ]


def test_which_signals_a_process_catches():
    """The kernel's word; a process that is gone catches none."""
    assert observe.catches(os.getpid(), signal.SIGINT)
    assert not observe.catches(os.getpid(), signal.SIGUSR2)
    assert not observe.catches(1 << 22, signal.SIGINT)


def test_a_pipe_that_nobody_holds(tmp_path):
    """It cannot be opened; what is no pipe neither."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        for name in ("pipe", "file", "none"):
            with pytest.raises(OSError, match=r"pipe|No such"):
                StackPipe(name, directory)
        held = stack_pipe.hold(tmp_path / "pipe")
        os.write(held, b"old")
        with StackPipe("pipe", directory) as pipe:
            os.write(held, b"x" * 100_000)
            pipe.read()
            assert pipe.text == b"x" * 100_000
            os.close(held)
            pipe.read()
            assert pipe.has_ended
    finally:
        os.close(directory)


def test_an_unread_pipe_holds_little(tmp_path):
    """A pipe that nobody reads takes 4096 bytes, and no write to it waits."""
    os.mkfifo(tmp_path / "pipe")
    held = stack_pipe.hold(tmp_path / "pipe")
    assert os.write(held, b"x" * 100_000) == 4096
    with pytest.raises(BlockingIOError):
        os.write(held, b"x")
    os.close(held)
