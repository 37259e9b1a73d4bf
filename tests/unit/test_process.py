"""The parts of process.py that need no fork: quotas, descriptors, and how a death is called."""

import os
from pathlib import Path

import pytest

from supervisor.system import cgroup, descriptors, process
from supervisor.system.process import Death

NOBODY = 2**22 + 1  # beyond the largest pid, proc(5)


@pytest.mark.parametrize(
    ("exit_code", "signum", "cause"),
    [
        (0, None, "exit 0"),
        (3, None, "exit 3"),
        (None, 11, "SIGSEGV"),
        (None, 9, "SIGKILL"),
        (None, 40, "signal 40"),
    ],
)
def test_a_death_has_a_cause(exit_code, signum, cause):
    """An exit status, or the signal by its name."""
    assert Death(1, exit_code, signum, False, 0.0, 0).cause == cause


def own_folders(root):
    """Return (mount, folder) of this process's cgroup below `root`, for each hierarchy."""
    folders = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        folders.append((root / controllers, root / controllers / path.strip("/")))
    return folders


@pytest.fixture
def folder_of_ours(tmp_path):
    """Write files into the folder of our own cgroup, below a root of the test's."""

    def write(**files):
        _, folder = own_folders(tmp_path)[0]
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(text)
        return tmp_path

    return write


V1 = "cpu__cfs_quota_us"
V1_PERIOD = "cpu__cfs_period_us"


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"cpu__max": "max 100000\n"}, None),
        ({"cpu__max": "150000 100000\n"}, 1.5),
        ({"cpu__max": "50000 100000\n"}, 0.5),
        ({"cpu__max": ""}, None),
        ({"cpu__max": "nonsense\n"}, None),
        ({V1: "-1\n", V1_PERIOD: "100000\n"}, None),
        ({V1: "250000\n", V1_PERIOD: "100000\n"}, 2.5),
        ({V1: "250000\n"}, None),
    ],
)
def test_the_quota_of_our_cgroup_is_found(folder_of_ours, files, quota):
    """Version 2 and version 1 of the files, without a limit, and damaged."""
    assert cgroup._cgroup_quota(folder_of_ours(**files)) == quota


@pytest.mark.parametrize(
    ("ours", "above", "quota"),
    [
        ("200000 100000", "100000 100000", 1.0),
        ("100000 100000", "200000 100000", 1.0),
        ("max 100000", "300000 100000", 3.0),
    ],
)
def test_the_smallest_quota_on_the_way_up_counts(tmp_path, ours, above, quota):
    """A parent's limit holds for its children; what lies outside the root does not count."""
    root = tmp_path / "root"
    nested = [(mount, own) for mount, own in own_folders(root) if own != mount]
    if not nested:
        pytest.skip("our cgroup has no parent here")
    mount, folder = nested[0]
    folder.mkdir(parents=True)
    (folder / "cpu.max").write_text(ours)
    (mount / "cpu.max").write_text(above)
    (tmp_path / "cpu.max").write_text("10000 100000")
    assert cgroup._cgroup_quota(root) == quota


def test_at_least_one_cpu_is_available():
    """Never more than the affinity allows, never none."""
    assert 1 <= cgroup.available_cpus() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("file", "text", "kills"),
    [
        ("memory__events", "low 0\nhigh 2\nmax 5\noom 1\noom_kill 4\n", 4),
        ("memory__oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", 3),
        ("memory__oom_control", "oom_kill_disable 0\nunder_oom 0\n", 0),
        ("other", "", 0),
    ],
)
def test_oom_kills_are_counted(folder_of_ours, file, text, kills):
    """The counter of version 2 or version 1; 0 where the kernel does not count."""
    assert cgroup.oom_kills(folder_of_ours(**{file: text})) == kills


def is_open(descriptor):
    """Tell whether a descriptor is open."""
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("numbers", "ranges"),
    [
        ([], ()),
        ([7], (range(7, 8),)),
        ([200, 201, 202], (range(200, 203),)),
        ([200, 202, 203, 205], (range(200, 201), range(202, 204), range(205, 206))),
    ],
)
def test_neighbours_are_one_range(numbers, ranges):
    """As few ranges as there are gaps, and one more."""
    assert descriptors.ranges_of(numbers) == ranges


@pytest.mark.parametrize("kept", [200, 201, 202, 204, 205])
def test_all_of_the_ranges_is_closed_but_one(kept):
    """The one that is kept, and what lies between the ranges, stay open."""
    numbers = range(200, 206)
    for number in numbers:
        os.dup2(0, number)
    descriptors.close_others((range(200, 203), range(204, 206)), kept)
    still_open = [number for number in numbers if is_open(number)]
    for number in still_open:
        os.close(number)
    assert still_open == sorted({kept, 203})


def test_a_process_has_a_name_while_it_lives():
    """The command's name, or None for a pid that nobody has."""
    assert process.name_of(os.getpid()) == Path("/proc/self/comm").read_text().strip()
    assert process.name_of(NOBODY) is None
