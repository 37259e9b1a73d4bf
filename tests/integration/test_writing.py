"""The README's chapters on writing workers and modules: every file in them is started and used."""

import re
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.harness import Server
from tests.integration.clients import ask

ROOT = Path(__file__).parents[2]
FILE = re.compile(r"^```\w+\n# file: (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def files():
    """Return the files that the README shows, by name."""
    return dict(FILE.findall((ROOT / "README.md").read_text()))


@pytest.fixture
def shown(tmp_path, started):
    """Write the README's files into an empty directory, and start one of them there."""
    for name, text in files().items():
        text = text.replace("/var/tmp/", f"{tmp_path}/")
        (tmp_path / name).write_text(re.sub(r"(tcp://127\.0\.0\.1):\d+", r"\1:0", text))

    def start(name):
        config = tmp_path / f"{name}.toml"
        runtime = config.with_suffix(".run")
        text = config.read_text() + f'\n[master]\nruntime_directory = "{runtime}"\n'
        config.write_text(text)
        started.append(server := Server(tmp_path, config))
        server.wait_for("server ready ")
        return server

    return start


def test_all_files_are_used_here():
    """A file that nobody starts would rot."""
    names = {"jobs.py", "jobs.toml", "clock.py", "clock.toml", "visits.py", "visits.toml"}
    assert names <= files().keys()


def test_jobs(shown, tmp_path):
    """The computation ends at once and says by what; its spool is gone."""
    server = shown("jobs")
    server.wait_for("crunching")
    assert (tmp_path / "crunch.spool").exists()
    assert server.stop() == -signal.SIGTERM
    server.wait_for("crunched until SIGTERM", "child exited worker=crunch .*code=0")
    assert not (tmp_path / "crunch.spool").exists()


def test_clock(shown):
    """The worker tells the year, and its own counter shows in the statistics."""
    server = shown("clock")
    server.wait_for("clock 0 is set", "clock 1 is set")
    now = datetime.now(UTC)
    assert ask(server, section="clock").decode() in (f"{now:%Y}\n", f"{datetime.now(UTC):%Y}\n")
    assert server.stats()["counters"]["clock.told"] == 1
    assert server.stop() == -signal.SIGTERM


def test_visits(shown, tmp_path):
    """Three children write one book, and the master closes it."""
    server = shown("visits")
    for name in ("ada", "bob", "eve"):
        assert ask(server, name.encode(), section="door") == b"welcome\n"
    assert server.stats()["counters"]["visits.count"] == 3
    assert server.stop() == -signal.SIGTERM
    assert (tmp_path / "guests").read_text() == "ada\nbob\neve\nclosed\n"
