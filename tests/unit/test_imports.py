"""A command imports only what it needs."""

import subprocess
import sys

import pytest

import supervisor
from tests.support.harness import DEADLINE

LISTED = "import sys; {}; print(*sys.modules)"


def imported_by(code):
    """Return the names of all modules that are there after `code`, in a fresh interpreter."""
    command = [sys.executable, "-c", LISTED.format(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["psutil", "rich", "prometheus_client", "granian"])
def test_the_command_line_is_made_without(module):
    """`supervisor --help` does not pay for what only some commands need."""
    assert module not in imported_by("import supervisor.cli.main")


@pytest.mark.parametrize("package", ["scoreboard", "child", "master", "workers", "views"])
def test_the_command_line_is_made_without_the_folder(package):
    """Nor for the rooms of a running server."""
    names = imported_by("import supervisor.cli.main")
    assert not [name for name in names if name.startswith(f"supervisor.{package}")]


def test_the_package_itself_is_empty_until_asked():
    """`import supervisor` loads nothing; each name comes when it is asked for."""
    names = imported_by("import supervisor")
    assert {name for name in names if name.startswith("supervisor")} == {"supervisor"}


@pytest.mark.parametrize("name", supervisor.__all__)
def test_each_public_name_is_there(name):
    """Each name that the package exports can be imported by users."""
    assert getattr(supervisor, name).__name__ == name


def test_a_name_that_is_not_there_is_an_attribute_error():
    """As for any module."""
    with pytest.raises(AttributeError, match="absent"):
        _ = supervisor.absent
