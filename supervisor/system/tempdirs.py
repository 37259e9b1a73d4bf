"""Temporary directories of children below the runtime directory: tmp/GENERATION/SLOT, and beside
each the journal of what its child has registered, tmp/GENERATION/SLOT.paths, and the pipe through
which that tells what it does, tmp/GENERATION/SLOT.stack.

In all functions here `runtime` is a descriptor of the runtime directory. Only names of this form
are removed: `tmp` is a name that others use too.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from supervisor.system.files import directory_at, remove_tree
from supervisor.system.paths import clear_journal

TEMPORARY: Final = "tmp"

_JOURNAL: Final = ".paths"
_STACK: Final = ".stack"


def make_tempdir(path: Path) -> Path:
    """Make the temporary directory of a child. Not the runtime directory around it, should that be
    gone: without its marker it would belong to nobody.
    """
    _make_folder_of(path)
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def _make_folder_of(tempdir: Path) -> None:
    for one in (tempdir.parent.parent, tempdir.parent):
        one.mkdir(mode=0o700, exist_ok=True)


def make_journal_of(tempdir: Path) -> Path:
    """Where the child with this temporary directory writes down its paths; its folder is made."""
    make_tempdir(tempdir)
    return tempdir.with_name(f"{tempdir.name}{_JOURNAL}")


def make_stack_pipe_of(tempdir: Path) -> str:
    """Make the pipe of the child with this temporary directory. Raises OSError."""
    path = f"{tempdir}{_STACK}"
    try:
        os.mkfifo(path, 0o600)
    except FileNotFoundError:  # the first child of its generation
        _make_folder_of(tempdir)
        os.mkfifo(path, 0o600)
    return path


@contextlib.contextmanager
def stack_pipe_at(runtime: Path, generation: int, slot: int) -> Iterator[tuple[int, str]]:
    """For a reader: a descriptor of the folder in which the pipe of a child is, and its name there.
    Raises OSError.
    """
    with (
        directory_at(runtime) as outer,
        directory_at(TEMPORARY, outer) as temporary,
        directory_at(str(generation), temporary) as folder,
    ):
        yield folder, f"{slot}{_STACK}"


def clear_slot(runtime: int, generation: int, slot: int) -> None:
    """Remove what a dead child has registered, and its own directory."""
    name = f"{TEMPORARY}/{generation}"
    with contextlib.suppress(OSError), directory_at(name, runtime) as directory:
        _clear_slot(str(slot), directory)


def clear_generation(runtime: int, generation: int) -> None:
    """The same for all that is left of a generation."""
    with contextlib.suppress(OSError), directory_at(TEMPORARY, runtime) as temporary:
        _clear_generation(str(generation), temporary)
    _remove_if_empty(TEMPORARY, runtime)


def clear_all(runtime: int) -> None:
    """The same for all generations."""
    with contextlib.suppress(OSError), directory_at(TEMPORARY, runtime) as temporary:
        for name in filter(str.isdecimal, os.listdir(temporary)):
            _clear_generation(name, temporary)
    _remove_if_empty(TEMPORARY, runtime)


def _clear_generation(name: str, temporary: int) -> None:
    with contextlib.suppress(OSError), directory_at(name, temporary) as directory:
        names = os.listdir(directory)
        slots = {one.removesuffix(_JOURNAL).removesuffix(_STACK) for one in names}
        for slot in filter(str.isdecimal, slots):
            _clear_slot(slot, directory)
    _remove_if_empty(name, temporary)


def _clear_slot(slot: str, directory: int) -> None:
    clear_journal(f"{slot}{_JOURNAL}", directory)
    remove_tree(slot, directory)
    with contextlib.suppress(OSError):
        os.unlink(f"{slot}{_STACK}", dir_fd=directory)


def _remove_if_empty(name: str, directory: int) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(name, dir_fd=directory)
