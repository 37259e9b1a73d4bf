"""`top` and `console` on a real terminal, which each of them gives back as it was."""

import contextlib
import fcntl
import os
import re
import signal
import struct
import termios

import pytest

from tests.support.clients import ask
from tests.support.configs import web
from tests.support.harness import SUPERVISOR, environment

ENTERED, LEFT = "\x1b[?1049h", "\x1b[?1049l"
TERMINAL = {"TERM": "xterm-256color"}
ENDS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPWR]


@pytest.fixture
def server(serve):
    """A server with something to see."""
    server = serve(web(children=3))
    yield server
    if server.process.poll() is None:
        assert server.stop() == -signal.SIGTERM


@pytest.fixture
def closing():
    """Closes what a test has opened."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def screen(run, server, closing):
    """Start a command on a terminal of its own, of 80 columns and 24 lines."""

    def start(command, *arguments, rows=24, columns=80, **extra):
        program = run(
            ["sh", "-c", f"stty rows {rows} cols {columns}; exec \"$@\"", "sh", SUPERVISOR, command,
             "-c", str(server.config), *arguments],
            terminal=True, extra=TERMINAL | extra,
        )  # fmt: skip
        # A grip of our own: the program's is closed when its output ends.
        program.terminal = os.dup(program._output)
        closing.callback(os.close, program.terminal)
        program.settings = termios.tcgetattr(program.terminal)
        return program

    return start


def assert_restored(program):
    """The main screen, the cursor and the line discipline are back."""
    assert termios.tcgetattr(program.terminal)[:4] == program.settings[:4]
    assert program.log.rfind(LEFT) > program.log.rfind(ENTERED)
    assert program.log.rfind("\x1b[?25h") > program.log.rfind("\x1b[?25l")


def text(log):
    """Return a log without escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b\][^\x07]*\x07", "", log)


def test_top_shows_and_quits(screen, server):
    """Sections, children, state and keys are on the screen; q gives the terminal back."""
    program = screen("top", "--interval", "0.2")
    program.wait_for("quit")
    shown = text(program.log)
    for words in (r"test +running", "3 of 3 ready", r"web +-", "3 idle", "sort by", "PSS"):
        assert re.search(words, shown), words
    for _ in range(9):
        ask(server)
    program.wait_for("requests 9 ")
    program.type("q")
    assert program.wait() == 0
    assert_restored(program)


@pytest.mark.parametrize("number", ENDS)
def test_top_ends_by_a_signal(screen, number):
    """It dies of the signal that ended it, the terminal restored."""
    program = screen("top")
    program.wait_for("quit")
    program.signal(number)
    assert program.wait() == -number
    assert_restored(program)


def test_ctrl_c_ends_top(screen):
    """The key reaches it as the signal that it is."""
    program = screen("top")
    program.wait_for("quit")
    program.type("\x03")
    assert program.wait() == -signal.SIGINT
    assert_restored(program)


def test_top_follows_the_size_of_its_terminal(screen):
    """A larger terminal is filled, a tiny one does not break it."""
    program = screen("top", "--interval", "60")
    program.wait_for("quit")
    for rows, columns in ((50, 150), (5, 20), (24, 80)):
        since = len(program.log)
        fcntl.ioctl(program.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        program.wait_for(r"test", since=since)
    program.wait_for("quit", since=since)
    program.type("q")
    assert program.wait() == 0
    assert_restored(program)


def test_the_children_of_top_are_sorted_by_a_key(screen):
    """s sorts by slot."""
    program = screen("top", "--interval", "60")
    program.wait_for("quit")
    since = len(program.log)
    program.type("s")
    program.wait_for("quit", since=since)
    assert re.findall(r"^ +(\d) +web", text(program.log[since:]), re.MULTILINE) == ["0", "1", "2"]
    program.type("q")
    assert program.wait() == 0


def test_top_says_when_the_server_is_gone(screen, server):
    """The last picture stays, with the news above it."""
    program = screen("top", "--interval", "0.2")
    program.wait_for("quit")
    assert server.stop() == -signal.SIGTERM
    program.wait_for("test is not running")
    program.type("q")
    assert program.wait() == 0
    assert_restored(program)


def test_top_where_there_is_no_screen(server):
    """Into a pipe, or on a dumb terminal, it is one plain snapshot."""
    done = server.command("top")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].startswith("test  pid ")
    assert "\x1b" not in done.stdout


def test_top_on_a_dumb_terminal(screen):
    """A terminal that knows no movements gets one plain snapshot."""
    program = screen("top", TERM="dumb")
    assert program.wait() == 0
    assert "test  pid " in program.log
    assert "\x1b" not in program.log


def test_top_without_rich(screen, tmp_path):
    """One line says what to install."""
    (tmp_path / "rich").mkdir()
    (tmp_path / "rich/__init__.py").write_text("raise ImportError('absent')\n")
    program = screen("top", PYTHONPATH=str(tmp_path))
    assert program.wait() == 69
    (line,) = program.log.splitlines()
    assert line == (
        "supervisor: error: top needs rich; install it with: pip install 'prefork-supervisor[ui]'"
    )


def test_statistics_have_colours_on_a_terminal_only(screen, server):
    """A pipe, NO_COLOR and a dumb terminal get none."""
    program = screen("stats")
    assert program.wait() == 0
    assert "\x1b[32m" in program.log
    for environ in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        program = screen("stats", **environ)
        assert program.wait() == 0
        assert "\x1b" not in program.log
    assert "\x1b" not in server.command("stats").stdout


def test_the_console_obeys(screen, server):
    """Each command does what it says; Ctrl-D leaves."""
    program = screen("console", NO_COLOR="1")
    program.wait_for("test> ")
    for line, answer in {
        "stats": r"requests 0",
        "children web": r"web +2 .*idle",
        "modules": "no modules, no counters",
        "config": r"workers\.web.* = 3",
        "signal 1 USR1": r"SIGUSR1 sent to slot 1, pid \d+",
        "signal 9 USR1": "error: no such child",
        "signal 1 NOPE": "error: NOPE: no such signal",
        "nonsense": "error: nonsense: no such command; try help",
        "children 'x": "error: No closing quotation",
        "help": "signal SLOT NAME",
    }.items():
        since = len(program.log)
        program.type(f"{line}\n")
        program.wait_for(answer, r"test> $", since=since)
    server.wait_for(r"web/1.*statistics state=idle")
    program.type("\x04")
    assert program.wait() == 0
    assert "Traceback" not in program.log
    assert termios.tcgetattr(program.terminal)[:4] == program.settings[:4]


def test_ctrl_c_ends_the_command_not_the_console(screen):
    """A watch goes on until Ctrl-C; at the prompt it only clears the line."""
    program = screen("console")
    program.wait_for("test> ")
    program.type("watch 0.1\n")
    program.wait_for(r"running +0\.0")
    program.type("\x03")
    program.wait_for("Interrupted\r\n.*test> ")
    since = len(program.log)
    program.type("half a li\x03")
    program.wait_for("test> $", since=since)
    program.type("quit\n")
    assert program.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGPWR])
@pytest.mark.parametrize("busy", [False, True])
def test_a_signal_ends_the_console(screen, number, busy):
    """At the prompt and in a command: it dies of the signal, the terminal restored."""
    program = screen("console")
    program.wait_for("test> ")
    if busy:
        program.type("watch 0.1\n")
        program.wait_for(r"running +0\.0")
    program.signal(number)
    assert program.wait() == -number
    assert termios.tcgetattr(program.terminal)[:4] == program.settings[:4]


def test_the_console_completes(screen):
    """Tab completes commands, slots and the names of signals."""
    program = screen("console", NO_COLOR="1")
    program.wait_for("test> ")
    program.type("chi\t\n")
    program.wait_for(r"children +\r?\n.*child  slot", r"web +2 .*\r\ntest> $")
    program.type("signal 0 SIGHU\t\n")
    program.wait_for("SIGHUP sent to slot 0.*\r\ntest> $")
    program.type("\x04")
    assert program.wait() == 0


def test_the_console_remembers(screen, tmp_path):
    """The arrow brings back a line of an earlier session."""
    for keys in ("modules\n", "\x1b[A\n"):
        program = screen("console", XDG_STATE_HOME=str(tmp_path))
        program.wait_for("test> ")
        program.type(keys)
        program.wait_for("no modules, no counters\r\n.*test> $")
        program.type("\x04")
        assert program.wait() == 0
    assert (tmp_path / "supervisor/history").stat().st_mode & 0o077 == 0


def test_the_console_stops_the_server(screen, server):
    """When `stop` has answered the server is gone; the console stays and says so."""
    program = screen("console")
    program.wait_for("test> ")
    program.type("stop\n")
    program.wait_for(r"test stopped, pid \d+\r\n.*test> $")
    assert server.wait() == -signal.SIGTERM
    program.type("stats\n")
    program.wait_for("error: test is not running\r\n.*test> $")
    program.type("\x04")
    assert program.wait() == 0


def test_commands_piped_into_the_console(server):
    """Without a terminal there is no prompt: what goes in is a script."""
    reader, writer = os.pipe()
    os.write(writer, b"children\nquit\n")
    os.close(writer)
    done = server.command("console", stdin=reader, env=environment())
    os.close(reader)
    assert done.returncode == 0
    assert done.stdout.startswith("child ")
    assert "test>" not in done.stdout


def test_a_watch_in_a_script_ends(server):
    """It prints one line, and the next command has its turn."""
    reader, writer = os.pipe()
    os.write(writer, b"watch 0.1\nmodules\n")
    os.close(writer)
    done = server.command("console", stdin=reader, env=environment())
    os.close(reader)
    heads, rates, modules = done.stdout.splitlines()
    assert heads.split()[0] == "state"
    assert rates.split()[0] == "running"
    assert modules == "no modules, no counters"


@pytest.mark.parametrize("command", ["top", "console"])
def test_without_a_server(server, command):
    """One line and status 3, on a terminal or not."""
    assert server.stop() == -signal.SIGTERM
    done = server.command(command)
    assert done.returncode == 3
    assert done.stderr == "supervisor: error: test is not running\n"
