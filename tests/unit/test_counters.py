"""The module `counters`: each generation adds its own part to the file."""

import json
import multiprocessing
from pathlib import Path

import pytest

from supervisor.child.shared import Server, Shared
from supervisor.modules.counters import Counters, CountersOptions
from supervisor.system.resources import Resources


@pytest.fixture
def path(tmp_path):
    """Return where the totals are kept."""
    return tmp_path / "totals"


class Generation:
    """A generation that counts `tally.total`, with its module."""

    def __init__(self, path):
        self.counted = {}
        self.shared = Shared()
        self.module = Counters(CountersOptions(path=str(path)))
        server = Server(
            "counters", "test", 1, self.shared, Resources(), lambda: self.counted, 1, Path
        )
        self.module.init(server)
        begun = self.shared.initial.get("tally.total", 0)
        self.counted = {"counters.requests": 0, "tally.total": begun}

    def count(self, amount):
        """Let the children count."""
        self.counted["tally.total"] += amount

    def end(self):
        """All children are gone."""
        self.module.destroy()


def kept(path):
    """Return the total in the file."""
    return json.loads(path.read_text())["tally.total"]


def test_a_generation_goes_on_where_the_last_one_ended(path):
    """Its numbers begin with the file's."""
    for total in (3, 6, 9):
        generation = Generation(path)
        generation.count(3)
        generation.end()
        assert kept(path) == total


def test_two_generations_at_once_lose_nothing(path):
    """The second begins before the first has ended: the file has the sum, in either order."""
    first = Generation(path)
    first.count(5)
    second = Generation(path)
    second.count(7)
    first.end()
    assert kept(path) == 5
    second.end()
    assert kept(path) == 12
    third, fourth = Generation(path), Generation(path)
    third.count(1)
    fourth.count(2)
    fourth.end()
    third.end()
    assert kept(path) == 15


def add_often(path):
    """Be so many generations, one after another."""
    for _ in range(50):
        generation = Generation(path)
        generation.count(1)
        generation.end()


def test_servers_that_share_a_file_lose_nothing(path):
    """Each rewrites the file under its lock."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=add_often, args=(path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert kept(path) == 150


def test_a_number_that_cannot_be_is_left_out(path):
    """A child that wrote wildly must not make the next start refuse the file."""
    generation = Generation(path)
    generation.counted["tally.total"] = 2**64 - 1
    generation.end()
    assert "tally.total" not in json.loads(path.read_text())
    Generation(path)


def test_a_file_that_was_spoilt_meanwhile_is_left_alone(path, capfd):
    """One line says so; nothing is raised in `destroy`."""
    generation = Generation(path)
    path.write_text("spoilt")
    generation.end()
    assert path.read_text() == "spoilt"
    assert "counters not kept" in capfd.readouterr().err
