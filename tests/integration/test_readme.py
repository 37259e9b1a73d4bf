"""README and manual, followed to the letter: files written, commands typed, output compared.

Each chapter has a directory of its own and, where the system allows it, a network and a /run of
its own, so that every port is the printed one. A server that stays in the foreground gets a
terminal of its own; a `text` block is what its log says next.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_systemd import booted
from tests.support import readme
from tests.support.container import COMMAND
from tests.support.harness import DEADLINE

ROOT = Path(__file__).parents[2]
ISOLATE = ("unshare", "--net", "--mount", "--propagation=private", "bash", "-c")
FURNISH = "ip link set lo up && mount -t tmpfs tmpfs /run"
IGNORED = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__")

# What is not run as it stands, by its first line, and why not. Its syntax is checked all the same.
NOT_RUN = {
    "pip install '.[all]'": "asks the package index",
    "$ cd /srv/hello": "needs systemd: test_the_units_deploy types it in a container",
    "docker build -f conf/container/Dockerfile -t web .": "needs a registry; see test_manifests",
    "shop  running  pid 7731  generation 1  up 0:00:45": "a live screen; see test_screens",
}
ANY = r"(?:.*\n)*?"
NEEDS = {"curl": "curl", "nc": "netcat-openbsd"}


def is_isolated():
    """Tell whether a network and a /run of our own can be had here."""
    done = subprocess.run([*ISOLATE, FURNISH], capture_output=True, check=False)
    return done.returncode == 0


ISOLATED = is_isolated()
CHAPTERS = [(one, name) for one in readme.DOCUMENTS for name in one.chapters() if one.blocks(name)]
BLOCKS = [block for one in readme.DOCUMENTS for block in one.all_blocks()]


def pattern(shown):
    """Return what the shown lines stand for: a line of `...` is any number of lines."""
    lines = shown.rstrip("\n").splitlines()
    return "".join(ANY if line.strip() == "..." else f"{like(line)}\n" for line in lines)


def matches(shown, output):
    """Tell whether a command printed what is shown."""
    return re.fullmatch(pattern(shown), output.rstrip("\n") + "\n" if output else "") is not None


def like(line):
    """Return what one line stands for: `...` is anything; times, sizes, pids and slots vary."""
    text = re.escape(line).replace(r"\.\.\.", ".*")
    text = re.sub(r"\d+\\\.\d+", r"\\d+\\.\\d+", text)
    text = re.sub(r"0x[0-9a-f]+", "0x[0-9a-f]+", text)
    text = re.sub(r"\d{3,}|(?<=slot=)\d|(?<=pid=)\d+", r"\\d+", text)
    text = re.sub(r"\d+(MiB)", r"\\d+\1", text)
    return re.sub(r"(?:\\ ){2,}", r" +", text)


def skip_without(programs):
    """Skip the test where a program that it types is missing."""
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"needs {program} (Debian: {NEEDS[program]})")


class Reader:
    """Somebody who types what a chapter says."""

    def __init__(self, run, directory):
        self._run = run
        self._directory = directory
        self._typed = 0
        stdin, self._keyboard = os.pipe()
        shell = "exec bash 1>&2"
        command = [*ISOLATE, f"{FURNISH} && {shell}"] if ISOLATED else ["bash", "-c", shell]
        self._shell = run(command, stdin=stdin)
        os.close(stdin)
        self._servers = []
        self._log_read = 0

    def follow(self, block):
        """Do what a block says."""
        if block.file:
            path = self._directory / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.language == "text":
            self._await_log(block.text)
        else:
            for step in readme.steps(block):
                self._step(block, step)

    def _step(self, block, step):
        if stays(step.command):
            server = self.start(step.command)
            self._await_log(step.shown)
            server.wait_for("server ready |server stopped ")
            return
        status, output = self.type(step.command)
        if block.language == "sh":
            assert status == 0, output
        else:
            assert matches(step.shown, output), f"$ {step.command}\n{output}"

    def type(self, command):
        """Return the status and the output of a command in the shell."""
        self._typed += 1
        since = len(self._shell.log)
        end = rf"\r@{self._typed} (\d+)$"
        line = f"{{ {command}\n}} </dev/null; printf '\\r@%s %s\\n' {self._typed} $?\n"
        os.write(self._keyboard, line.encode())
        (found,) = self._shell.wait_for(end, since=since)
        return int(found[1]), self._shell.log[since:].partition(f"\r@{self._typed} ")[0]

    def start(self, command):
        """Start a server in a terminal of its own, in the shell's directory."""
        _, directory = self.type("pwd")
        enter = ["nsenter", f"--target={self._shell.pid}", "--net", "--mount"] if ISOLATED else []
        command = f"cd {directory.strip()} && exec {command}"
        self._servers.append(self._run([*enter, "bash", "-c", command]))
        self._log_read = 0
        return self._servers[-1]

    def _await_log(self, shown):
        """Wait until the log of the last server says all that is shown; children have no order."""
        server, since = self._servers[-1], self._log_read
        for part in entries(shown):
            (found,) = server.wait_for(rf"^(?:\S+Z )?{pattern(part)}", since=since)
            self._log_read = max(self._log_read, since + found.end())

    def close(self):
        """End what still runs; a server has died only as told, or as a chapter shows."""
        for server in self._servers:
            if server.process.poll() is None:
                server.signal(signal.SIGTERM)
            assert server.wait() in (-signal.SIGTERM, -signal.SIGINT, 0, 70), server.log
        os.close(self._keyboard)
        self._shell.wait()


def stays(command):
    """Tell whether a command is a server in the foreground."""
    return re.fullmatch(r"supervisor (start(?! --daemon)|run)\b[^;|&]*", command) is not None


def entries(shown):
    """Return the entries of a log: a line of the log's form, with what belongs to it."""
    lines = shown.strip("\n").splitlines()
    starts = [n for n, line in enumerate(lines) if re.match(r"[A-Z]+ \S+\[\d+\]", line)]
    ends = [*starts[1:], len(lines)]
    parts = ["\n".join(lines[a:b]) for a, b in zip(starts, ends, strict=True)]
    return [re.sub(r"(\n\.\.\.)+$", "", part) for part in parts]


@pytest.fixture
def reader(run, tmp_path):
    """A reader with an empty directory."""
    made = Reader(run, tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("document", "chapter"), CHAPTERS, ids=[f"{one.name}: {name}" for one, name in CHAPTERS]
)
def test_the_chapter_is_true(reader, document, chapter, tmp_path):
    """All that it says can be done, and gives what it shows."""
    text = document.chapters()[chapter]
    skip_without(name for name in NEEDS if re.search(rf"\b{name} ", text))
    shutil.copytree(ROOT / "conf", tmp_path / "conf", ignore=IGNORED)
    shutil.copy(ROOT / "Makefile", tmp_path)
    for block in document.blocks(chapter):
        if block.first not in NOT_RUN:
            reader.follow(block)


def test_every_block_is_run_or_listed():
    """A block is a file, a log, or commands; what is not run is in the table, and nothing else."""
    blocks = BLOCKS
    listed = [block.first for block in blocks if block.first in NOT_RUN]
    assert sorted(listed) == sorted(NOT_RUN)
    for block in blocks:
        if block.first in NOT_RUN:
            continue
        if block.language in ("python", "toml"):
            assert block.file, f"names no file: {block.first}"
        elif block.language in ("sh", "console"):
            assert readme.steps(block), f"types nothing: {block.first}"
        else:
            assert block.language == "text", f"what is it? {block.first}"
            assert entries(block.text), f"shows no log: {block.first}"


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language in ("sh", "console")], ids=str)
def test_the_syntax_is_that_of_a_shell(block):
    """Also of what is not run."""
    script = "\n".join(step.command for step in readme.steps(block))
    done = subprocess.run(
        ["bash", "-n"], input=script, capture_output=True, text=True, check=False, timeout=DEADLINE
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def checkout(tmp_path):
    """A copy of the sources, with this very environment as its own."""
    shutil.copytree(ROOT, tmp_path / "checkout", symlinks=True, ignore=IGNORED)
    environment = tmp_path / "checkout/.venv"
    environment.mkdir()
    (environment / "bin").symlink_to(Path(sys.prefix) / "bin")
    (environment / ".installed").touch()
    return tmp_path / "checkout"


def test_make_run(reader, checkout):
    """The default server, and what the page says of it."""
    skip_without(NEEDS)
    reader.type(f"cd {checkout}")
    server = reader.start("make run")
    server.wait_for("server ready name=supervisor ")
    status, page = reader.type("curl --silent --fail http://127.0.0.1:8000/LICENSE")
    assert (status, page.strip()) == (0, (ROOT / "LICENSE").read_text().strip())
    assert reader.type("echo hello | nc -N 127.0.0.1 7000")[1].strip() == "hello"


@pytest.mark.systemd
def test_the_units_deploy(tmp_path):
    """The commands of the chapter, on a real systemd, print what is shown."""
    (block,) = [b for b in readme.README.blocks("Deploying") if b.language == "console"]
    files = {b.file: b.text for b in readme.README.blocks("Types") if b.file}
    assert 'name = "hello"' in files["supervisor.toml"]
    with booted(tmp_path) as machine:
        machine.write("srv/hello/hello.py", files["hello.py"])
        machine.write("srv/hello/hello.toml", files["supervisor.toml"])
        steps = readme.steps(block)
        script = "".join(f"{step.command}\n" for step in steps)
        done = machine.run("bash", "-c", f"PATH={Path(COMMAND).parent}:$PATH; exec 2>&1; {script}")
        assert matches("".join(step.shown for step in steps), done.stdout), done.stdout
