"""`--watch`: a change of the code, or of the configuration, is a reload; nothing else is."""

import os
import signal

import pytest

from tests.support.clients import ask
from tests.support.configs import web
from tests.support.harness import SUPERVISOR, supervisor

pytest.importorskip("watchfiles")

CODE = "def serve(connection, address):\n    connection.sendall(b'{version}\\n')\n"
RELOADED = r"server ready .*generation={}\b"


def edit(directory, version, name="mine.py"):
    """Write the code as an editor does: beside, then in its place."""
    beside = directory / f"{name}.tmp"
    beside.write_text(version if name != "mine.py" else CODE.format(version=version))
    beside.replace(directory / name)


@pytest.fixture
def watched(serve, tmp_path):
    """Start a server that is watched, on code of the version `one`."""

    def start(*arguments, **options):
        edit(tmp_path, "one")
        master = {"working_directory": str(tmp_path)}
        text = web("mine:serve", children=2)
        return serve(text, arguments=["--watch", *arguments], master=master, **options)

    return start


def test_a_change_of_the_code(watched, tmp_path):
    """The new code answers on the same address, again and again."""
    server = watched()
    assert ask(server) == b"one\n"
    for number, version in enumerate(("two", "six", "ten"), 2):
        edit(tmp_path, version)
        server.wait_for(r"^changed: mine\.py", RELOADED.format(number), "generation gone")
        server.wait_for(rf"(?s)generation={number}\b.*generation gone generation={number - 1}\b")
        assert ask(server) == f"{version}\n".encode()
    assert server.stop() == -signal.SIGTERM
    server.wait_gone()


def test_broken_code_is_explained_and_the_old_serves(watched, tmp_path):
    """With the whole traceback, once; the next change mends it."""
    server = watched()
    edit(tmp_path, "def serve(:\n", "mine.py.broken")
    (tmp_path / "mine.py.broken").replace(tmp_path / "mine.py")
    server.wait_for("SyntaxError", "the old version serves on")
    assert server.log.count("supervisor: error: ") == 1
    assert ask(server) == b"one\n"
    edit(tmp_path, "two")
    server.wait_for(RELOADED.format(3), "generation gone generation=1")
    assert ask(server) == b"two\n"
    assert server.stop() == -signal.SIGTERM


def test_a_change_of_the_configuration(watched):
    """It counts wherever the file stands."""
    server = watched()
    text = server.config.read_text()
    server.config.write_text(text.replace("children = 2", "children = 3"))
    server.wait_for(r"^changed: test\.toml", r"server ready .*children=3 generation=2")
    assert server.stop() == -signal.SIGTERM


def test_other_files_are_nothing(watched, tmp_path):
    """A log, a database, bytecode, a tool's folder: what came before the code's change was none."""
    server = watched()
    (tmp_path / ".git").mkdir()
    for name in ("server.log", "data.sqlite", ".git/hook.py"):
        edit(tmp_path, "x", name)
    edit(tmp_path, "two")
    server.wait_for(RELOADED.format(2))
    assert server.log.count("changed: ") == 1
    assert server.stop() == -signal.SIGTERM


def test_a_filter_of_ones_own(watched, tmp_path):
    """It says which names count, in the place of the code's."""
    server = watched("--watch-filter", "*.html", "--watch-filter=*.py")
    edit(tmp_path, "<p>", "page.html")
    server.wait_for(r"^changed: page\.html", RELOADED.format(2))
    assert server.stop() == -signal.SIGTERM


def test_broken_at_the_first_start(launch, tmp_path):
    """It ends as start would."""
    (tmp_path / "mine.py").write_text("1 / 0\n")
    master = {"working_directory": str(tmp_path)}
    server = launch(web("mine:serve"), arguments=["--watch"], master=master)
    assert server.wait() == 76
    server.wait_for("ZeroDivisionError")


def test_ctrl_c_ends_all(watched):
    """On a terminal the server has the foreground, and who watches ends with it."""
    server = watched(terminal=True)
    server.type("\x03")
    server.wait_for("last statistics")
    server.wait_gone()
    server.wait()


def test_the_server_goes_with_its_watcher(watched):
    """A watcher that is killed leaves nothing behind."""
    server = watched()
    server.signal(signal.SIGKILL)
    server.wait_for("server stopping reason=SIGTERM")
    server.wait_gone()


def test_run(run, tmp_path):
    """An application without a file is watched in the current directory."""
    text = "def app(environ, start):\n    start('200 OK', [])\n    return [b'{}']\n"
    (tmp_path / "hello.py").write_text(text.format("one"))
    name = f"watched-{os.getpid()}"
    words = ["run", "hello:app", "--bind", "127.0.0.1:0", "--children", "1", "-n", name, "--watch"]
    program = run([SUPERVISOR, *words])
    program.wait_for(RELOADED.format(1))
    (tmp_path / "hello.py").write_text(text.format("two"))
    program.wait_for(RELOADED.format(2))
    program.signal(signal.SIGTERM)
    assert program.wait() == -signal.SIGTERM


def test_not_with_a_daemon(tmp_path):
    """Who goes to the background has no terminal to tell of changes."""
    done = supervisor("start", "--watch", "--daemon", cwd=tmp_path)
    assert done.returncode == 2
    assert "--watch is for the foreground" in done.stderr
