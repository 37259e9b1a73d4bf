"""How it starts, or does not: a failure is one clear line and a true status, nothing is left."""

import os
import re
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.support.clients import ask
from tests.support.configs import hooks, job, table, web
from tests.support.harness import PROGRAMS, supervisor

DESTROYED = re.compile(r"^hook (\w) destroy", re.MULTILINE)


def error_of(program, status):
    """Wait for a failed start; return the error lines, which hold no traceback of ours."""
    assert program.wait() == status, program.log
    errors = [text for text in program.log.splitlines() if text.startswith("supervisor: error: ")]
    assert errors, program.log
    return "\n".join(errors)


POINTS = [
    ("os.mkdir", 1),
    ("fcntl.lockf", 1),
    ("socket.bind", 1),
    ("socket.bind", 2),
    ("os.fork", 1),
    ("os.fork", 2),
    ("os.fork", 4),
]


@pytest.mark.parametrize(("event", "count"), POINTS)
def test_term_at_any_point_of_boot(launch, tmp_path, event, count):
    """TERM at the instant of an act of the master: death by TERM, inits undone, nothing left."""
    path = tmp_path / "web.socket"
    text = hooks("a") + hooks("b") + web(listen=[f"unix://{path}", "tcp://127.0.0.1:0"], children=4)
    order = tmp_path / "order"
    order.write_text(f"SIGTERM {event} {count} later")
    program = (sys.executable, str(PROGRAMS / "interrupted.py"), str(order))
    server = launch(text, prefix=program)
    assert server.wait() == -signal.SIGTERM
    assert f"interrupted at {event} {count}" in server.log
    assert "server ready" not in server.log
    assert not path.exists()
    assert DESTROYED.findall(server.log) == re.findall(r"^hook (\w) init", server.log, re.M)[::-1]


def test_term_while_a_modules_init_runs(launch):
    """A hanging `init` is left by `Stop`; what was initialised before it is destroyed."""
    server = launch(hooks("a") + hooks("b", init="spin") + web())
    server.wait_for("hook b init")
    assert server.stop() == -signal.SIGTERM
    assert DESTROYED.findall(server.log) == ["a"]


def test_term_while_user_code_is_imported(launch):
    """A hanging import is left as well."""
    server = launch(web(), master={"preload": ["hanging"]})
    server.wait_for("importing")
    assert server.stop() == -signal.SIGTERM


def test_term_before_every_child_is_ready(launch):
    """A child that hangs in its worker's `init` is told to go, or killed."""
    server = launch(hooks() + job(init="hang") + web(), master={"stop_timeout": 0.3})
    server.wait_for("worker init", "child ready worker=web")
    assert server.stop() == -signal.SIGTERM
    assert "server ready" not in server.log
    assert DESTROYED.findall(server.log) == ["a"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGPWR])
def test_other_signals_during_boot(launch, number):
    """Boot ends by the signal that ended it, whichever it was."""
    server = launch(hooks("a", init="spin") + web())
    server.wait_for("hook a init")
    server.signal(number)
    assert server.wait() == -number


START_FAILURES = {
    "module init raises": hooks("a") + hooks("b", init="fail") + web(),
    "child_init raises": hooks("a") + hooks("b", child_init="fail") + web(),
    "worker init raises": hooks("a") + job(init="fail") + web(),
    "worker preload raises": hooks("a") + job(preload="fail") + web(),
}


@pytest.mark.parametrize("case", START_FAILURES)
def test_user_code_that_fails_before_ready_is_a_start_failure(launch, case):
    """Status 76 with the reason; what was initialised is destroyed, and nothing is tried again."""
    server = launch(START_FAILURES[case])
    error_of(server, 76)
    assert "told to fail" in server.log
    assert "server ready" not in server.log
    initialised = ["b", "a"] if case == "child_init raises" else ["a"]
    if case == "worker preload raises":
        initialised = []
    assert DESTROYED.findall(server.log) == initialised


def test_a_child_that_exits_before_it_is_ready_is_a_start_failure(launch):
    """Status 0 of a child is no success before it is ready."""
    server = launch(hooks() + job(init="exit") + web())
    error_of(server, 76)
    assert DESTROYED.findall(server.log) == ["a"]


START_HANGS = {
    "import": ("", {"preload": ["hanging"]}),
    "module init": (hooks("b", init="hang"), {}),
    "child_init": (hooks("b", child_init="hang"), {}),
    "worker init": (job(init="hang"), {}),
}


@pytest.mark.parametrize("case", START_HANGS)
def test_start_timeout_ends_a_start_that_hangs(launch, case):
    """`start_timeout` covers all that may hang before the server is ready: status 76."""
    text, master = START_HANGS[case]
    master = {"start_timeout": 0.5, "stop_timeout": 0.3} | master
    server = launch(hooks("a") + text + web(), master=master)
    error_of(server, 76)
    assert "server ready" not in server.log


def test_an_import_that_fails_shows_its_own_last_line(launch):
    """A handler's module that raises: status 76, and the line of the traceback that matters, with
    its place; the whole traceback is in the log, once.
    """
    server = launch(web("broken:serve") + web("broken:serve", name="again"))
    errors = error_of(server, 76)
    assert re.search(r"LookupError: this program is broken \(\S+broken\.py line \d+\)", errors)
    assert re.search(r"ERROR master\[\d+\] user code raised\n  Traceback ", server.log)
    assert server.log.count("Traceback") == 1


def test_a_preload_that_fails_shows_its_own_last_line(launch):
    """The same for `preload`."""
    server = launch(web(), master={"preload": ["broken"]})
    assert "LookupError: this program is broken" in error_of(server, 76)


CONFIG_ERRORS = {
    "unknown handler": (web("handlers:missing"), r"workers\.web\.handler.*missing"),
    "unknown handler module": (web("no_such_module:serve"), r"workers\.web.*no_such_module"),
    "unknown type": (web(type="tpc"), r"workers\.web\.type.*tpc"),
    "unknown worker class": (web(type="jobs:Missing"), r"workers\.web.*Missing"),
    "unknown module": (web() + table("modules.cuonters"), r"modules\.cuonters"),
    "unknown key": (
        table("workers.web", type="tcp", handler="handlers:hello", chidren=2),
        r"workers\.web\.chidren: unknown key; did you mean 'children'\?",
    ),
    "wrong type": (web(children="two"), r"workers\.web\.children"),
    "wrong value": (web(children=0), r"workers\.web\.children"),
    "wrong module option": (
        table("modules.a", type="hooks:Hooks", label=3) + web(),
        r"modules\.a\.label",
    ),
    "no workers": ("", "worker"),
    "listen twice": (web(listen=["tcp://127.0.0.1:7"] * 2), r"tcp://127\.0\.0\.1:7"),
    "path too long": (web(listen=["unix:///" + "x" * 200]), r"workers\.web\.listen"),
    "no address": (web(listen=["127.0.0.1:80"]), r"workers\.web\.listen.*127\.0\.0\.1:80"),
}


@pytest.mark.parametrize("case", CONFIG_ERRORS)
def test_a_wrong_configuration(launch, case):
    """Status 78, the key path, and no process, port or file."""
    text, pattern = CONFIG_ERRORS[case]
    server = launch(text)
    assert re.search(pattern, error_of(server, 78)), server.log
    assert "Traceback" not in server.log
    assert not server.runtime.exists()


def test_check_reports_as_start_would(launch):
    """`supervisor check` finds the same problems with the same statuses."""
    bad = launch(web("handlers:missing"), name="bad")
    broken = launch(web("broken:serve"), name="broken")
    good = launch(web(), name="good")
    for server, status in ((bad, 78), (broken, 76), (good, 0)):
        done = server.command("check")
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
    good.wait_for("server ready")
    assert good.stop() == -signal.SIGTERM


def test_all_problems_are_reported_at_once(launch):
    """One line for each, in one run."""
    errors = error_of(launch(web(chidren=2, backlog="many", handler="handlers:missing")), 78)
    for pattern in ("chidren", "backlog"):
        assert pattern in errors


def test_bad_toml_is_named_with_line_and_column(tmp_path):
    """Status 78, and where to look."""
    file = tmp_path / "bad.toml"
    file.write_text('name = "web"\n[master\n')
    done = supervisor("start", "-c", str(file))
    assert done.returncode == 78
    assert re.fullmatch(r"supervisor: error: .*line 2.*column \d+.*\n", done.stderr)


def test_a_missing_file_is_named(tmp_path):
    """Status 78 and the path."""
    done = supervisor("start", "-c", str(tmp_path / "none.toml"))
    assert done.returncode == 78
    assert re.fullmatch(r"supervisor: error: .*none\.toml.*\n", done.stderr)


@pytest.mark.parametrize(
    ("value", "status"),
    [("workers.web.children", 2), ("workers.web.chidren=3", 78), ("workers.web.children=x", 78)],
)
def test_a_wrong_set_is_refused(launch, value, status):
    """`--set` without `=` is a wrong command line; an unknown key or wrong type is status 78."""
    server = launch(web(), arguments=["--set", value])
    assert server.wait() == status
    assert "Traceback" not in server.log


def test_set_overrides_the_file(serve):
    """`--set workers.web.children=3` counts more than the file."""
    server = serve(web(children=1), arguments=["--set", "workers.web.children=3"])
    assert len(server.children()) == 3
    assert server.stop() == -signal.SIGTERM


def test_a_port_in_use_is_named(launch):
    """Status 69 and the address; what was bound before it is undone."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        assert address in error_of(launch(hooks() + web(listen=[address])), 69)


def test_a_host_that_is_not_ours_is_named(launch):
    """Status 69 for an address that no interface has."""
    assert "192.0.2.1" in error_of(launch(web(listen=["tcp://192.0.2.1:7777"])), 69)


def test_a_runtime_directory_that_cannot_be_made(launch, tmp_path, unprivileged):
    """Status 77 and the path."""
    parent = tmp_path / "closed"
    parent.mkdir(mode=0o500)
    runtime = parent / "run"
    server = launch(web(), prefix=unprivileged, master={"runtime_directory": str(runtime)})
    assert str(runtime) in error_of(server, 77)


@pytest.mark.root
def test_a_runtime_directory_of_somebody_else(launch, tmp_path):
    """Status 77: its owner could have prepared it."""
    runtime = tmp_path / "theirs"
    runtime.mkdir()
    os.chown(runtime, 65534, 65534)
    server = launch(web(), master={"runtime_directory": str(runtime)})
    assert str(runtime) in error_of(server, 77)


def test_a_port_that_needs_a_privilege(launch, unprivileged):
    """Status 77 where the kernel keeps low ports to root."""
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 1:
        pytest.skip("this kernel lets everybody bind port 1")
    server = launch(web(listen=["tcp://127.0.0.1:1"]), prefix=unprivileged)
    assert "127.0.0.1:1" in error_of(server, 77)


def test_a_runtime_directory_that_stood_before_stays(serve, tmp_path):
    """Its contents go, the directory is not ours to remove."""
    runtime = tmp_path / "before"
    runtime.mkdir(mode=0o700)
    server = serve(web(), master={"runtime_directory": str(runtime)})
    assert any(runtime.iterdir())
    assert server.stop() == -signal.SIGTERM
    assert list(runtime.iterdir()) == []


def test_a_pid_file_lives_as_long_as_the_server(serve, tmp_path):
    """It holds the pid, and is removed at the end."""
    file = tmp_path / "web.pid"
    server = serve(web(), master={"pid_file": str(file)})
    assert int(file.read_text()) == server.pid
    assert server.stop() == -signal.SIGTERM
    assert not file.exists()


def test_threads_of_a_preloaded_library_end_at_the_fork(serve):
    """Each is named, with the module whose code it runs, and what to do instead."""
    server = serve(web("threaded:serve", children=2), master={"preload": ["threaded"]})
    advice = r'hint="children do not have it: start it in a module.s child_init'
    for name, module in (
        ("flusher", "threaded"),
        ("pool_0", r"concurrent\.futures\.thread"),
        (r"Thread-\d+", "threading"),
    ):
        what = f"thread ends at the fork thread={name} module={module} {advice}"
        server.wait_for(f"WARNING .*{what}")
    assert server.log.count("ends at the fork") == 3
    assert ask(server) == b"MainThread"
    assert server.stop() == -signal.SIGTERM
