"""Resources are released in reverse; files that a dead server left are removed, but nothing that
has taken their names since.
"""

import os
import socket
from pathlib import Path

import pytest

from supervisor.system import files
from supervisor.system.paths import clear_journal
from supervisor.system.resources import Resources


def test_the_last_acquired_is_released_first():
    """Releases run in reverse order, each once."""
    made, released = Resources(), []
    for name in "abc":
        made.add(name, lambda name=name: released.append(name))
    made.release()
    made.release()
    assert released == ["c", "b", "a"]


def test_a_mark_releases_down_to_itself():
    """Resources acquired after the mark are released, those before it stay."""
    made, released = Resources(), []
    made.add("server", lambda: released.append("server"))
    mark = made.mark()
    made.add("generation", lambda: released.append("generation"))
    made.release(mark)
    assert released == ["generation"]
    made.release()
    assert released == ["generation", "server"]


def test_a_release_that_fails_does_not_stop_the_next(capfd):
    """The failing one is logged by name, the others are released."""
    made, released = Resources(), []
    made.add("a", lambda: released.append("a"))
    made.add("b", lambda: 1 // 0)
    made.add("c", lambda: released.append("c"))
    made.release()
    assert released == ["c", "a"]
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith(' cannot release what=b error="integer division or modulo by zero"')


def make_file(path):
    """Make a file."""
    path.write_text("x")


def make_tree(path):
    """Make a directory with something in it."""
    (path / "inner").mkdir(parents=True)
    (path / "inner/file").write_text("x")


def make_link(path):
    """Make a symbolic link to a directory that holds a file."""
    (path.parent / "kept").mkdir()
    (path.parent / "kept/file").write_text("x")
    path.symlink_to("kept")


def make_nothing(path):
    """Make nothing: somebody else removed it already."""


@pytest.mark.parametrize("make", [make_file, make_tree, make_link, make_nothing])
def test_a_path_is_removed_at_the_end(tmp_path, make):
    """A file, a tree or a link is gone; where a link led is left alone."""
    made, path = Resources(), tmp_path / "path"
    assert made.add_path(path) == path
    make(path)
    made.release()
    assert not os.path.lexists(path)
    assert (tmp_path / "kept/file").exists() == (make is make_link)


@pytest.mark.parametrize("make", [make_file, make_tree, make_link, make_nothing])
def test_what_a_killed_server_left_is_removed_by_the_next(tmp_path, make):
    """A path is written down before it exists; the next start removes it."""
    journal, path = tmp_path / "paths", tmp_path / "left behind\nhere"
    killed = Resources()
    killed.use_journal(journal)
    killed.add_path(path)
    make(path)
    clear_journal(journal)
    assert not os.path.lexists(path)
    assert (tmp_path / "kept/file").exists() == (make is make_link)
    assert not journal.exists()


def test_a_relative_path_is_written_down_in_full(tmp_path, monkeypatch):
    """The next start may begin in another directory."""
    monkeypatch.chdir(tmp_path)
    killed = Resources()
    killed.use_journal(Path("paths"))
    make_file(killed.add_path("file"))
    monkeypatch.chdir("/")
    clear_journal(tmp_path / "paths")
    assert not (tmp_path / "file").exists()


def test_a_socket_in_the_journal_that_is_none_is_kept(tmp_path):
    """A file that has taken a socket's place is not ours to remove."""
    journal, path = tmp_path / "paths", tmp_path / "web.sock"
    killed = Resources()
    killed.use_journal(journal)
    killed.add_socket(path)
    make_file(path)
    clear_journal(journal)
    assert path.exists()


def test_an_entry_that_was_cut_is_not_believed(tmp_path):
    """A path whose end was never written may be another one's beginning: it is kept."""
    journal, data = tmp_path / "paths", tmp_path / "data"
    make_tree(data)
    journal.write_bytes(b"any 0 0 " + os.fsencode(data))  # was to be .../data/tmp and a NUL
    clear_journal(journal)
    assert (data / "inner/file").exists()


def replace(path):
    """Put another file of the same kind in its place; the old one is kept, so is its inode."""
    path.rename(path.parent / "old")
    make_file(path) if (path.parent / "old").is_file() else make_tree(path)


@pytest.mark.parametrize("make", [make_file, make_tree])
@pytest.mark.parametrize("dead", [True, False])
def test_what_took_the_name_of_a_noted_file_stays(tmp_path, make, dead):
    """Once a file was seen at a registered path, another one there is not ours to remove."""
    journal, path, made = tmp_path / "paths", tmp_path / "path", Resources()
    made.use_journal(journal)
    made.add_path(path)
    make(path)
    made.look()
    replace(path)
    clear_journal(journal) if dead else made.release()
    assert path.exists()


def test_what_was_there_before_it_was_registered_is_noted_at_once(tmp_path):
    """It is removed, but not what somebody has put there instead."""
    for replaced in (False, True):
        path, made = tmp_path / "path", Resources()
        make_file(path)
        made.add_path(path)
        if replaced:
            replace(path)
        made.release()
        assert path.exists() == replaced


def test_what_was_released_is_not_removed_again_by_the_journal(tmp_path):
    """A file that has the name after us is another's."""
    journal, path, made = tmp_path / "paths", tmp_path / "path", Resources()
    made.use_journal(journal)
    made.add_path(path)
    make_file(path)
    made.release()
    make_file(path)
    clear_journal(journal)
    assert path.exists()


def test_a_socket_that_somebody_listens_on_is_kept(tmp_path, closing):
    """The journal names it, the file is the very one, and yet it lives."""
    journal, path, killed = tmp_path / "paths", tmp_path / "web.sock", Resources()
    killed.use_journal(journal)
    killed.add_socket(path)
    listener = closing.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(str(path))
    listener.listen()
    killed.see(path)
    clear_journal(journal)
    assert path.exists()
    listener.close()
    killed.use_journal(journal)
    clear_journal(journal)
    assert not path.exists()


LINES = {
    "an older form": b"path %s",
    "no number": b"any x 0 %s",
    "another kind": b"directory 0 0 %s",
    "another inode": b"file 1 1 %s",
    "a relative path": b"any 0 0 victim",
    "nothing": b"",
}


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_is_none_of_ours_removes_nothing(tmp_path, monkeypatch, line):
    """Only an entry whose every part makes sense is obeyed."""
    monkeypatch.chdir(tmp_path)
    victim = tmp_path / "victim"
    make_file(victim)
    form = LINES[line]
    (tmp_path / "paths").write_bytes(
        (form % os.fsencode(victim) if b"%s" in form else form) + b"\0"
    )
    clear_journal(tmp_path / "paths")
    assert victim.exists()


@pytest.mark.parametrize("make", [make_link, os.mkfifo])
def test_a_journal_that_is_no_file_is_not_read(tmp_path, make):
    """Neither through a link nor from a FIFO, which would block."""
    make(tmp_path / "paths")
    clear_journal(tmp_path / "paths")


def test_a_journal_is_not_written_where_another_has_taken_its_place(tmp_path):
    """The runtime directory may have become another server's."""
    journal, made = tmp_path / "paths", Resources()
    made.use_journal(journal)
    replace(journal)
    made.add_path(tmp_path / "path")
    assert journal.read_text() == "x"


def test_a_new_journal_has_what_was_registered_before(tmp_path):
    """Where the first was lost, the second names all paths."""
    path, made = tmp_path / "path", Resources()
    made.use_journal(tmp_path / "first")
    make_file(made.add_path(path))
    (tmp_path / "first").unlink()
    made.use_journal(tmp_path / "second")
    clear_journal(tmp_path / "second")
    assert not path.exists()


def test_files_are_written_whole(tmp_path):
    """The new content replaces the old in one step, and nothing stays beside it."""
    path = tmp_path / "pid"
    files.write_atomically(path, b"1\n")
    files.write_atomically(path, b"2\n")
    assert path.read_bytes() == b"2\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    """When the rename fails, what was written beside goes."""
    (tmp_path / "pid").mkdir()
    with pytest.raises(OSError, match="directory"):
        files.write_atomically(tmp_path / "pid", b"1\n")
    assert list(tmp_path.iterdir()) == [tmp_path / "pid"]
