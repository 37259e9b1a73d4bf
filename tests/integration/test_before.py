"""Commands before the imports, and variables that a section's code has from its import on."""

import os
import signal

import pytest

from tests.support.clients import ask
from tests.support.configs import table, toml, web, write
from tests.support.harness import supervisor


def with_before(*commands):
    """Return a start's options with these commands."""
    return {"master": {"before": [list(command) for command in commands]}}


def test_they_run_in_order_before_the_imports(serve, tmp_path):
    """Their output is in the log; the second finds what the first made."""
    made = tmp_path / "made"
    first = ["sh", "-c", f"echo one; echo two >&2; echo content > {made}"]
    server = serve(web(), **with_before(first, ["cat", str(made)]))
    lines = [line for line in server.log.splitlines() if "output=" in line]
    assert [line.rpartition("output=")[2] for line in lines] == ["one", "two", "content"]
    assert server.log.index("output=content") < server.log.index("child ready")
    assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["sh", "-c", "echo no table; exit 3"], "exit 3: no table"),
        (["sh", "-c", "kill -9 $$"], "killed by SIGKILL"),
        (["no-such-program-here"], "No such file or directory"),
        (["/etc/passwd"], "Permission denied"),
    ],
)
def test_one_that_fails_is_a_start_failure(launch, command, reason):
    """76, one line that names it; what follows does not run."""
    command = [word.replace("$$", "$$$$") for word in command]  # `$$` is `$` in the file
    server = launch(web(), **with_before(command, ["echo", "never"]))
    assert server.wait() == 76
    (line,) = [one for one in server.log.splitlines() if one.startswith("supervisor: error:")]
    assert "master.before[0]: " in line
    assert reason in line
    assert "never" not in server.log
    server.wait_gone()


def test_term_ends_it(launch):
    """The command's whole group is told, and nothing of it is left."""
    server = launch(web(), **with_before(["sh", "-c", "echo begun; sleep 1000 & sleep 1000; :"]))
    server.wait_for("output=begun")
    assert server.stop() == -signal.SIGTERM
    server.wait_gone()


def test_one_that_does_not_hear_term_is_killed(launch):
    """After stop_timeout."""
    options = with_before(["sh", "-c", "trap '' TERM; echo begun; while :; do sleep 1000; done"])
    options["master"]["stop_timeout"] = 0.2
    server = launch(web(), **options)
    server.wait_for("output=begun")
    assert server.stop() == -signal.SIGTERM
    server.wait_gone()


def test_it_does_not_outlive_a_killed_master(launch):
    """The kernel tells it."""
    server = launch(web(), **with_before(["sh", "-c", "echo begun; exec sleep 1000"]))
    server.wait_for("output=begun")
    server.signal(signal.SIGKILL)
    server.wait()
    server.wait_gone()


def test_one_with_much_output_and_a_child_that_stays(serve):
    """Its end counts, not that of who has its output still open; a long line is not lost."""
    script = "sleep 1000 & yes x | head -c 400000 | tr -d '\\n'; echo; echo done"
    server = serve(web(), **with_before(["sh", "-c", script]))
    assert "output=done" in server.log
    assert server.log.count("x" * 1000) >= 3
    assert server.stop() == -signal.SIGTERM
    server.wait_gone()


def test_not_by_check_and_not_for_a_later_generation(serve, tmp_path):
    """A start runs them once."""
    count = tmp_path / "count"
    options = with_before(["sh", "-c", f"echo x >> {count}"])
    options["master"]["restart"] = "on-crash"
    server = serve(web(), **options)
    assert server.command("check").returncode == 0
    os.kill(server.children()[0], signal.SIGKILL)
    server.wait_for("server ready .*generation=2")
    assert count.read_text() == "x\n"
    assert server.stop() == -signal.SIGTERM


def test_an_empty_command_is_a_configuration_error(tmp_path):
    """There is nothing to run."""
    config = write(tmp_path, web(), before=[[]])
    done = supervisor("check", "-c", str(config))
    assert done.returncode == 78
    assert "master.before: entry [0]: expected array of length >= 1" in done.stderr


def test_env_is_set_before_the_import(serve, tmp_path):
    """Each section has its own, `env` wins over `env_file`, and another section sees neither."""
    (tmp_path / "vars").write_text("COLOUR=red\nSHAPE='a b'\n")
    sections = (
        web("variables:tell", name="one", env={"COLOUR": "blue"}, env_file="vars")
        + web("handlers:hello", name="two")
        + table(
            "workers.three",
            type="exec",
            command=["sh", "-c", "echo shape=$SHAPE colour=$COLOUR >&2; exec sleep 1000"],
            env_file="vars",
        )
    )
    server = serve(sections)
    server.wait_for("shape=a b colour=red")
    assert ask(server, b"", "one") == b"blue blue\n"
    assert server.stop() == -signal.SIGTERM


def test_a_missing_env_file(tmp_path):
    """A configuration error that names it."""
    config = write(tmp_path, web(env_file="gone"))
    done = supervisor("check", "-c", str(config))
    assert done.returncode == 78
    assert f"workers.web.env_file: {tmp_path}/gone: No such file or directory" in done.stderr


def test_pyproject_is_found(tmp_path):
    """In a folder without supervisor.toml its table serves, named as the project."""
    runtime = toml(str(tmp_path / "run"))
    (tmp_path / "pyproject.toml").write_text(
        f'[project]\nname = "shop"\n[tool.supervisor.master]\nruntime_directory = {runtime}\n'
        '[tool.supervisor.workers.web]\ntype = "tcp"\nlisten = ["tcp://127.0.0.1:0"]\n'
        'handler = "supervisor.workers.echo:stream"\n'
    )
    done = supervisor("check", cwd=tmp_path)
    assert done.stdout.startswith("pyproject.toml: ok: 1 worker sections")
