"""Expected failures are one line on stderr and their status, never a traceback."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import supervisor as package
from tests.support.applications import section
from tests.support.configs import table, web, write
from tests.support.harness import DEADLINE, PROGRAMS, supervisor

# In the order in which they are imported: the first follows the first lines of the script.
IMPORTED = (
    "supervisor.__main__",
    "supervisor",
    "supervisor.cli.main",
    "click",
    "msgspec",
    "supervisor.config.schema",
    "supervisor.log.entries",
    "supervisor.child.registry",
    "supervisor.master.master",
)


def one_line(done, status, *words):
    """The command ended with the status, and one line that has all the words."""
    lines = done.stderr.splitlines()
    assert [line.startswith("supervisor: error: ") for line in lines] == [True], done.stderr
    assert done.returncode == status
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize("module", IMPORTED)
def test_ctrl_c_while_the_imports_run(launch, module):
    """It ends the start as it ends any program: by the signal, and quietly."""
    extra = {"PYTHONPATH": str(PROGRAMS / "ctrl_c"), "INTERRUPT_AT": module}
    server = launch(web(), extra=extra)
    assert (server.wait(), server.log) == (-signal.SIGINT, "")


def test_ctrl_c_that_is_ignored_stays_ignored(launch):
    """A shell without job control starts background commands so: the terminal does not end them."""
    ignoring = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
    server = launch(web(), prefix=ignoring, extra={"PYTHONPROFILEIMPORTTIME": "1"})
    server.wait_for(r"\| +click$")
    server.signal(signal.SIGINT)
    server.wait_for("server ready ")
    assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize("command", ["start", "check"])
@pytest.mark.parametrize(
    "setting",
    [
        'master.runtime_directory="a\\u0000b"',
        'master.user="a\\u0000b"',
        'master.preload=["a\\u0000b"]',
        'log.file="a\\u0000b"',
        b"master.pid_file=a\xffb",
        b"workers.web.handler=a\xffb",
    ],
)
def test_a_setting_with_a_nul_or_an_odd_byte(tmp_path, command, setting):
    """No path, name or address can hold it."""
    file = write(tmp_path, web())
    done = supervisor(command, "-c", str(file), "--set", setting)
    one_line(done, 78, "--set: ", ": holds a NUL or a byte that is not UTF-8")


@pytest.mark.parametrize("command", ["start", "check"])
def test_a_removed_working_directory(tmp_path, command):
    """The directory that the shell stands in has been removed."""
    file = tmp_path / "test.toml"
    file.write_text(table("master", runtime_directory=str(tmp_path / "run")) + web())
    gone = tmp_path / "gone"
    gone.mkdir()
    enter = ("bash", "-c", f'cd {gone} && rmdir {gone} && exec "$@"', "bash")
    one_line(supervisor(command, "-c", str(file), prefix=enter), 71, "the working directory: ")


@pytest.mark.root
def test_no_proc(tmp_path):
    """A container without /proc."""
    enter = ("unshare", "--mount", "bash", "-c", 'umount -l /proc && exec "$@"', "bash")
    done = supervisor("start", "-c", str(write(tmp_path, web())), prefix=enter)
    assert done.returncode == 71
    assert done.stderr.startswith("supervisor: error: /proc/self/task: No such file or directory\n")
    assert "Traceback" not in done.stderr


def test_five_descriptors(tmp_path):
    """A limit in which nothing can run."""
    enter = ("bash", "-c", 'ulimit -n 5 && exec "$@"', "bash")
    done = supervisor("start", "-c", str(write(tmp_path, web())), prefix=enter)
    assert done.returncode == 71
    assert done.stderr.startswith("supervisor: error: /proc/self/task: Too many open files\n")
    assert "Traceback" not in done.stderr


def test_output_that_cannot_be_written(tmp_path):
    """A full disk under a command's output."""
    with open("/dev/full", "w") as full:
        done = supervisor("types", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    one_line(done, 71, "No space left on device")


@pytest.fixture
def copied(tmp_path):
    """A copy of the package, as an installation has it; returns how to run it."""
    ours = Path(package.__file__).parent
    shutil.copytree(ours, tmp_path / "site/supervisor", ignore=shutil.ignore_patterns("*.pyc"))

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "supervisor", *arguments],
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path / "site")},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    assert run("--help").returncode == 0
    return run


@pytest.mark.parametrize("theirs", ["#\n", None])
def test_another_package_of_our_name(copied, tmp_path, theirs):
    """The index has another `supervisor`: its `__init__.py` has overwritten ours, or has been
    removed with it.
    """
    ours = tmp_path / "site/supervisor/__init__.py"
    if theirs is None:
        ours.unlink()
    else:
        ours.write_text(theirs)
    one_line(copied("status"), 78, str(ours.parent), "pip install --force-reinstall")


@pytest.mark.parametrize("command", ["start", "check"])
@pytest.mark.parametrize("form", ["common", "combined"])
def test_an_access_log_of_text_beside_a_log_of_json(tmp_path, command, form):
    """Both on standard output would make lines that are no objects; into a file it may go."""
    log = table("log", format="json")
    file = write(tmp_path, section("wsgi", access_log=form) + log)
    done = supervisor(command, "-c", str(file))
    assert done.returncode == 78
    assert f"workers.web.access_log: '{form}' on standard output" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    for allowed in ({"access_log": "json"}, {"access_log": form, "access_log_file": "/dev/null"}):
        file = write(tmp_path, section("wsgi", **allowed) + log)
        assert supervisor("check", "-c", str(file)).returncode == 0
