"""Fixtures that own every process a test starts, and refuse to leave one behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support import configs
from tests.support.harness import Program, Server, restore_signals


def pytest_configure() -> None:
    """Begin as a test started in a terminal does."""
    restore_signals()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs root where we are not."""
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.fixture
def started() -> Iterator[list[Program]]:
    """The programs that the test started; ended in reverse, their logs shown if the test failed."""
    programs: list[Program] = []
    yield programs
    complaints: list[str] = []
    for program in reversed(programs):
        print(f"----- log of {program.process.args}\n{program.drain()}")
        complaints += program.close()
    assert not complaints


@pytest.fixture
def run(tmp_path: Path, started: list[Program]) -> Callable[..., Program]:
    """Start any command in the test's directory."""

    def start(command: Sequence[str], **options: Any) -> Program:
        started.append(program := Program(command, tmp_path, **options))
        return program

    return start


@pytest.fixture
def launch(tmp_path: Path, started: list[Program]) -> Callable[..., Server]:
    """Start a server on a configuration given as text; `master` holds keys of `[master]`."""

    def start(text: str, *, name: str = "test", **options: Any) -> Server:
        master = options.pop("master", {})
        config = configs.write(tmp_path, text, name=name, **master)
        started.append(server := Server(tmp_path, config, **options))
        return server

    return start


@pytest.fixture
def serve(launch: Callable[..., Server]) -> Callable[..., Server]:
    """Start a server, as `launch` does, and wait until it is ready."""

    def start(text: str, **options: Any) -> Server:
        server = launch(text, **options)
        server.wait_for("server ready ")
        return server

    return start


@pytest.fixture
def unprivileged() -> Sequence[str]:
    """The command prefix under which even root is refused what its owner has not allowed."""
    return ("setpriv", "--bounding-set=-all") if os.geteuid() == 0 else ()
