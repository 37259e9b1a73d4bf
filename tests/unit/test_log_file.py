"""A log file is followed by its name, and goes on where it cannot be."""

import os
import threading

import pytest

from supervisor.log.file import LogFile


@pytest.fixture
def said():
    """The messages of a log file about itself."""
    return []


@pytest.fixture
def file(tmp_path, said):
    """A log file in a directory of its own."""
    (tmp_path / "logs").mkdir()
    opened = LogFile(str(tmp_path / "logs/log"), said.append)
    yield opened
    opened.close()


def test_a_renamed_file_is_made_anew(file, tmp_path, said):
    """By the next entry; a removed one too."""
    path, old = tmp_path / "logs/log", tmp_path / "logs/old"
    file.write(b"a\n")
    path.rename(old)
    file.write(b"b\n")
    path.unlink()
    file.write(b"c\n")
    assert (old.read_bytes(), path.read_bytes(), said) == (b"a\n", b"c\n", [])


@pytest.mark.parametrize("obstacle", ["absent", "a file", "a loop"])
def test_where_it_cannot_be_made_anew(file, tmp_path, said, obstacle):
    """The old file is written on, it is said once, and each entry tries again."""
    moved, place = tmp_path / "moved", tmp_path / "logs"
    place.rename(moved)
    if obstacle == "a file":
        place.touch()
    elif obstacle == "a loop":
        place.symlink_to(place)
    file.write(b"a\n")
    file.write(b"b\n")
    assert (moved / "log").read_bytes() == b"a\nb\n"
    assert len(said) == 1
    assert said[0].startswith(f"{place}/log: cannot be opened again: ")
    place.unlink(missing_ok=True)
    place.mkdir()
    file.write(b"c\n")
    assert (place / "log").read_bytes() == b"c\n"
    (place / "log").unlink()
    place.rmdir()
    file.write(b"d\n")
    assert len(said) == 2  # another time


def test_its_descriptor_stays(file, tmp_path):
    """Threads that write while it is opened again hit the old file or the new one, nothing else."""
    path = tmp_path / "logs/log"
    before = set(os.listdir("/proc/self/fd"))

    def write():
        for _ in range(200):
            file.write(b"line\n")

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(50):
        if path.exists():
            path.rename(tmp_path / f"logs/{number}")
    for thread in threads:
        thread.join()
    assert set(os.listdir("/proc/self/fd")) == before
    written = b"".join(one.read_bytes() for one in (tmp_path / "logs").iterdir())
    assert written == b"line\n" * 800


def test_a_child_of_ours_does_not_inherit_it(file, tmp_path):
    """It is closed by an exec, after a rename too."""
    for _ in range(2):
        (tmp_path / "logs/log").unlink()
        file.write(b"a\n")
        assert not os.get_inheritable(file._descriptor)
