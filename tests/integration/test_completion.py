"""Completion in real shells, on a terminal: Tab is pressed, and the command that results is run."""

import shutil

import pytest

from tests.support.harness import supervisor

CONFIG = """\
[workers.web]
type = "http"
listen = ["tcp://127.0.0.1:0"]
"""
SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
LOAD = {
    "bash": "source <(supervisor completion bash)",
    "zsh": "autoload -U compinit; compinit -D -u; source <(supervisor completion zsh)",
    "fish": "supervisor completion fish | source",
}


@pytest.fixture(params=SHELLS)
def terminal(request, run, tmp_path):
    """A shell on a terminal that has loaded its script."""
    name = request.param
    if not shutil.which(name):
        pytest.skip(f"needs {name} (Debian: {name})")
    (tmp_path / "shop.toml").write_text(CONFIG)
    extra = {"TERM": "vt100", "HOME": str(tmp_path)}
    shell = run(SHELLS[name], terminal=True, extra=extra)
    shell.type(f"{LOAD[name]}; echo lo''aded\r")
    shell.wait_for("loaded")
    yield shell
    shell.type("\x03exit\r")
    shell.wait()


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("supervisor ch\t-c sh\t\r", r"shop\.toml: ok: "),
        ("supervisor check -c shop.toml --s\tlog.le\twarning\r", r"shop\.toml: ok: "),
        ("supervisor check -c shop.toml --set workers.web.ro\t/\r", r"shop\.toml: ok: "),
        ("supervisor check -c shop.toml --set workers.web.type=ud\t\r", "type 'udp' listens on"),
        ("supervisor check -c shop.toml --set master.restart=on\t\r", r"shop\.toml: ok: "),
        ("supervisor completion zs\t\r", "#compdef supervisor"),
    ],
)
def test_tab(terminal, typed, answer):
    """Tab completes commands, options, files, keys and values."""
    terminal.type(typed)
    terminal.wait_for(answer)


def test_an_unknown_shell():
    """A wrong command line."""
    assert supervisor("completion", "tcsh").returncode == 2
