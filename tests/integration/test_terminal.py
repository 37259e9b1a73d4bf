"""On a terminal: Ctrl-C ends the server alone, and the calling shell gets its terminal back."""

import os
import shutil
import signal

import pytest

from tests.support.configs import web, write
from tests.support.harness import SUPERVISOR

CTRL_C = "\x03"
# What follows before the shell reads again: the rest of the line, and its prompt.
PROMPT = r"[^$]*\$ "
START = f"{SUPERVISOR} start -c test.toml"


def test_ctrl_c_in_an_interactive_shell(run, tmp_path):
    """The server ends by INT, the prompt comes back, and the shell reads the next command."""
    write(tmp_path, web())
    shell = run(["bash", "--norc", "--noprofile", "-i"], terminal=True)
    shell.type(f"{START}\n")
    shell.wait_for("server ready ")
    shell.type(CTRL_C)
    shell.wait_for("server stopping reason=SIGINT", rf"server stopped status=SIGINT{PROMPT}")
    shell.type("echo status=$? alive=$((6 * 7))\n")
    shell.wait_for("status=130 alive=42")
    shell.type("exit\n")
    assert shell.wait() == 0
    shell.wait_gone()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_ctrl_c_under_make(run, tmp_path):
    """Under `make run` Ctrl-C ends the server in order; the script that called make reads on."""
    write(tmp_path, web())
    (tmp_path / "Makefile").write_text(f"run:\n\t@exec {START}\n")
    script = "make run; echo make says $?; read answer; echo got $answer"
    shell = run(["sh", "-c", f"trap : INT; {script}"], terminal=True)
    shell.wait_for("server ready ")
    shell.type(CTRL_C)
    shell.wait_for("server stopping reason=SIGINT", "server stopped status=SIGINT", "make says 2")
    shell.type("an answer\n")
    shell.wait_for("got an answer")
    assert shell.wait() == 0
    shell.wait_gone()


def test_ctrl_c_in_a_script(run, tmp_path):
    """A script that called the server without job control has its terminal back after Ctrl-C."""
    write(tmp_path, web())
    shell = run(
        ["sh", "-c", f"{START}; echo $? then; read answer; echo got $answer"], terminal=True
    )
    shell.wait_for("server ready ")
    shell.type(CTRL_C)
    shell.wait_for("130 then")
    shell.type("an answer\n")
    shell.wait_for("got an answer")
    assert shell.wait() == 0
    shell.wait_gone()


def test_a_killed_server_leaves_the_terminal_usable(run, tmp_path):
    """After SIGKILL of the master an interactive shell takes its terminal back."""
    write(tmp_path, web())
    shell = run(["bash", "--norc", "--noprofile", "-i"], terminal=True)
    shell.type(f"{START}\n")
    pid = int(shell.wait_for(r"server ready .*pid=(\d+)")[0][1])
    os.kill(pid, signal.SIGKILL)
    shell.wait_for(rf"Killed{PROMPT}")
    shell.type("echo alive=$((6 * 7))\n")
    shell.wait_for("alive=42")
    shell.type("exit\n")
    shell.wait_gone()
