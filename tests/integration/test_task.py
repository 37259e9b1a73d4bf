"""Functions as children: once, periodically, stopped, killed."""

import os
import re
import signal

import pytest

from tests.support.configs import table, web


def task(run, name="job", **values):
    """Return a `task` section of one child."""
    return table(f"workers.{name}", **{"type": "task", "run": f"tasks:{run}"} | values)


@pytest.fixture
def registered(tmp_path):
    """Return the paths outside of our own directories that a task makes, and the environment that
    names them.
    """
    paths = {"REGISTERED_FILE": tmp_path / "file", "REGISTERED_TREE": tmp_path / "tree"}
    return list(paths.values()), {name: str(path) for name, path in paths.items()}


def test_all_tasks_finished_is_status_0(launch):
    """A server of nothing but tasks ends when the last one has returned."""
    server = launch(task("once", "one", children=2) + task("once", "two"))
    assert server.wait() == 0
    server.wait_for("child finished worker=one", "child finished worker=two", "status=0")


def test_a_finished_task_leaves_the_others_alone(serve):
    """Its return is no death, and the server goes on."""
    server = serve(task("once") + web())
    server.wait_for("child finished worker=job")
    totals = server.stats()["workers"][0]
    assert (totals["requests"], totals["errors"]) == (1, 0)
    assert server.stop() == -signal.SIGTERM


def test_an_exception_is_a_death(serve):
    """With its traceback in the crash report."""
    server = serve(task("failing", every=1000.0, jitter=0.0))
    assert server.wait() == 70
    server.wait_for("child died worker=job .*cause=.exit 70.", "ValueError: the task failed")


@pytest.mark.parametrize("run", ["failing", "leaving"])
def test_on_error_count_makes_it_an_error_of_one_run(serve, run):
    """Counted and logged; the next run comes."""
    server = serve(task(run, every=0.05, on_error="count"))
    for _ in range(3):
        server.wait_for("task failed run=", since=len(server.log))
    totals = server.stats()["totals"]
    assert totals["errors"] >= 3
    assert server.stop() == -signal.SIGTERM


def test_a_polling_loop_ends_at_once(serve, registered):
    """Pure Python that calls `poll` is gone within 0.1 s of TERM, and so are its files."""
    paths, extra = registered
    server = serve(task("counting"), extra=extra)
    server.wait_for("task counts")
    assert all(path.exists() for path in paths)
    assert server.stop() == -signal.SIGTERM
    (stopping, exited) = server.wait_for(
        r"^\S+T(\S+)Z INFO \S+ server stopping", r"^\S+T(\S+)Z INFO \S+ child exited .*code=0"
    )
    assert seconds(exited[1]) - seconds(stopping[1]) < 1.0  # 0.1 and what a busy machine adds
    assert not any(path.exists() for path in paths)


def seconds(clock):
    """Return the seconds of a time of day as the log writes it."""
    hours, minutes, rest = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def test_a_deaf_loop_is_killed_at_the_deadline(serve, registered):
    """One that never polls is gone at stop_timeout; its files are gone too."""
    paths, extra = registered
    server = serve(task("deaf"), extra=extra, master={"stop_timeout": 0.3})
    server.wait_for("task counts")
    assert all(path.exists() for path in paths)
    assert server.stop() == -signal.SIGTERM
    server.wait_for("child killed worker=job .*reason=stop-timeout")
    assert not any(path.exists() for path in paths)


def test_a_killed_task_leaves_no_files(serve, registered):
    """The master removes what a child registered, when it is killed outright."""
    paths, extra = registered
    server = serve(task("dying"), extra=extra)
    server.wait_for("task waits")
    assert all(path.exists() for path in paths)
    os.kill(server.children()[0], signal.SIGKILL)
    assert server.wait() == 70
    assert not any(path.exists() for path in paths)


def test_files_of_a_killed_server_are_cleared_by_the_next_start(serve, registered):
    """Master and child killed at one stroke: the child's journal is read by the next start."""
    paths, extra = registered
    server = serve(task("dying"), extra=extra)
    server.wait_for("task waits")
    os.killpg(os.getpgid(server.pid), signal.SIGKILL)
    server.wait_gone()
    server.wait()
    assert all(path.exists() for path in paths)
    server = serve(web())
    assert not any(path.exists() for path in paths)
    assert server.stop() == -signal.SIGTERM


def test_a_sleep_is_interrupted_by_the_stop(serve):
    """`Stop` leaves `sleep` at once, and carries the signal."""
    server = serve(task("sleeping"))
    server.wait_for("task sleeps")
    assert server.stop() == -signal.SIGTERM
    server.wait_for("task stopped by SIGTERM", "child exited worker=job .*code=0")


def test_a_sleep_goes_on_after_another_signal(serve):
    """USR1 prints statistics and does not shorten the sleep."""
    server = serve(task("sleeping"))
    server.wait_for("task sleeps")
    os.kill(server.children()[0], signal.SIGUSR1)
    server.wait_for("statistics state=busy")
    assert server.stop() == -signal.SIGTERM
    assert server.log.count("task sleeps") == 1


def instants(server, word, count):
    """Return when the task said `word`, as soon as it said it so often."""
    server.wait_for("(?s)" + ".*".join([rf"task {word} at="] * count))
    return [float(at) for at in re.findall(rf"task {word} at=([\d.]+)", server.log)][:count]


def test_a_run_does_not_put_off_the_next(serve):
    """Periods are counted from the first start: runs of 0.4 s every 0.5 s do not add up."""
    server = serve(task("slow", every=0.5))
    begins = instants(server, "begins", 5)
    assert begins[-1] - begins[0] < 4 * (0.5 + 0.4) - 0.2
    assert server.stop() == -signal.SIGTERM


def test_runs_do_not_overlap(serve):
    """A run longer than the period makes the next one wait for the next beat."""
    server = serve(task("slow", every=0.1))
    begins, ends = instants(server, "begins", 3), instants(server, "ends", 2)
    assert begins[1] >= ends[0]
    assert begins[2] >= ends[1]
    assert server.stop() == -signal.SIGTERM


def test_jitter_puts_a_start_off(serve):
    """Two children with jitter do not start at the same moment."""
    server = serve(task("beating", every=1000.0, jitter=0.5, children=2))
    first, second = instants(server, "beat", 2)
    assert first != second
    assert server.stop() == -signal.SIGTERM
