"""The other commands: they find the server by its runtime directory, without its master's help."""

import json
import os
import re
import signal
import subprocess

import pytest

from tests.support.clients import ask, dial, line, rest
from tests.support.configs import web, write
from tests.support.harness import DEADLINE, SUPERVISOR, environment, supervisor

STATS = {
    "name", "pid", "state", "generation", "started_at", "uptime",
    "totals", "workers", "children", "draining", "crashes", "counters", "last_crash",
}  # fmt: skip
TOTALS = {"requests", "errors", "active", "busy_seconds"}
WORKER = {"name", "type", "listen", "children", "requests", "errors", "active", "latency"}
CHILD = {
    "slot", "worker", "pid", "state", "requests", "errors", "active",
    "busy_seconds", "cpu_seconds", "rss_bytes", "pss_bytes", "uptime",
}  # fmt: skip
STATUS = {"running", "pid", "state", "generation", "uptime", "children", "ready_children"}


def test_the_fields_of_the_statistics(serve):
    """`stats --json` has exactly the promised names, and the facts are true."""
    server = serve(web("handlers:gated", children=3))
    with dial(server) as connection:
        child = int(line(connection).split()[1])
        facts = server.stats()
    assert set(facts) == STATS
    assert set(facts["totals"]) == TOTALS
    (worker,) = facts["workers"]
    assert set(worker) == WORKER
    assert set(worker["latency"]) == {"p50", "p90", "p99", "max"}
    (listener,) = worker["listen"]
    assert set(listener) == {"address", "queued", "backlog"}
    assert all(set(row) == CHILD for row in facts["children"])
    assert (facts["name"], facts["pid"], facts["state"]) == ("test", server.pid, "running")
    assert (worker["name"], worker["type"], worker["children"]) == ("web", "tcp", 3)
    assert listener["address"] == server.address()
    assert facts["generation"] == 1
    assert facts["last_crash"] is None
    states = {row["pid"]: row["state"] for row in facts["children"]}
    assert states.pop(child) == "busy"
    assert set(states.values()) == {"idle"}
    assert facts["totals"]["active"] == 1
    assert server.stop() == -signal.SIGTERM


def test_requests_are_counted_and_timed(serve):
    """Each finished request is one, with its time in the latency of its section."""
    server = serve(web(children=2))
    for _ in range(7):
        ask(server)
    facts = server.stats()
    assert facts["totals"]["requests"] == 7
    assert facts["totals"]["errors"] == facts["totals"]["active"] == 0
    assert sum(row["requests"] for row in facts["children"]) == 7
    latency = facts["workers"][0]["latency"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"] < DEADLINE
    assert server.stop() == -signal.SIGTERM


def test_the_queue_is_what_waits_to_be_accepted(serve):
    """`queued` counts the connections that no child has taken."""
    server = serve(web("handlers:gated", children=1))
    first = dial(server)
    line(first)
    waiting = [dial(server) for _ in range(3)]
    assert server.stats()["workers"][0]["listen"][0]["queued"] == 3
    for connection in (first, *waiting):
        connection.sendall(b".")
        assert rest(connection).endswith(b"done\n")
    assert server.stop() == -signal.SIGTERM


def test_statistics_of_a_stopped_master(serve):
    """A read never involves the master: it works while the master is frozen."""
    server = serve(web())
    server.freeze()
    facts = server.stats()
    assert facts["pid"] == server.pid
    assert server.command("status").returncode == 0
    assert server.command("stats").returncode == 0
    assert ask(server).startswith(b"hello")
    server.signal(signal.SIGCONT)
    assert server.stop() == -signal.SIGTERM


def test_statistics_while_it_stops(serve):
    """A server that drains says so."""
    server = serve(web("handlers:gated", children=1) + web(name="canary", children=1))
    connection = dial(server)
    line(connection)
    server.signal(signal.SIGTERM)
    server.wait_for("child exited worker=canary ")
    assert server.stats()["state"] == "stopping"
    connection.sendall(b".")
    assert rest(connection) == b"done\n"
    assert server.wait() == -signal.SIGTERM


def test_the_status(serve):
    """`status` is 0 with the promised fields while it runs."""
    server = serve(web(children=2))
    done = server.command("status", "--json")
    facts = json.loads(done.stdout)
    assert done.returncode == 0
    assert set(facts) == STATUS
    assert (facts["running"], facts["pid"], facts["state"]) == (True, server.pid, "running")
    assert (facts["children"], facts["ready_children"], facts["generation"]) == (2, 2, 1)
    assert len(server.command("status").stdout.splitlines()) == 1
    assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize(("command", "status"), [("stop", 0), ("status", 3), ("stats", 3)])
def test_a_command_where_nothing_runs(tmp_path, command, status):
    """One line, and the promised status."""
    config = write(tmp_path, web())
    done = supervisor(command, "-c", str(config))
    assert done.returncode == status
    assert len((done.stdout + done.stderr).splitlines()) == 1


def test_a_command_after_a_killed_master(serve):
    """The files that a killed master leaves fool nobody."""
    server = serve(web())
    server.signal(signal.SIGKILL)
    assert server.wait() == -signal.SIGKILL
    server.wait_gone()
    assert server.command("status").returncode == 3
    assert server.command("stop").returncode == 0


def test_stop_waits_until_it_is_gone(serve):
    """When `stop` returns 0 no process is left; the server died of TERM."""
    server = serve(web())
    assert server.command("stop").returncode == 0
    server.wait_gone()
    assert server.wait() == -signal.SIGTERM
    assert "server stopping reason=SIGTERM" in server.log


def test_stop_with_a_timeout_that_is_too_short(serve):
    """A server still draining when `--timeout` passes is an error, and it goes on draining."""
    server = serve(web("handlers:gated", children=1))
    connection = dial(server)
    line(connection)
    done = server.command("stop", "--timeout", "0.2")
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1
    connection.sendall(b".")
    assert rest(connection) == b"done\n"
    assert server.wait() == -signal.SIGTERM


def test_statistics_piped_into_head(serve):
    """`supervisor stats | head -1` prints one line and no complaint."""
    server = serve(web())
    command = f"{SUPERVISOR} stats -c {server.config} | head -n 1"
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, timeout=DEADLINE, check=True
    )
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""
    assert server.stop() == -signal.SIGTERM


def test_statistics_into_a_closed_pipe(serve):
    """With the reader gone before the first byte there is no complaint either."""
    server = serve(web())
    reader, writer = os.pipe()
    os.close(reader)
    done = server.command(
        "stats", "--json", capture_output=False, stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    assert done.stderr == ""
    assert server.stop() == -signal.SIGTERM


def test_check_of_a_good_configuration(tmp_path):
    """Status 0, and nothing was started or made."""
    config = write(tmp_path, web())
    assert supervisor("check", "-c", str(config)).returncode == 0
    assert os.listdir(tmp_path) == [config.name]


@pytest.mark.parametrize("command", ["check", "start"])
def test_a_wrong_setting_is_told_once(tmp_path, command):
    """A problem of --set is not told a second time as one of the file."""
    config = write(tmp_path, web())
    done = supervisor(command, "-c", str(config), "--set", "workers.web.chidren=3")
    message = "--set: workers.web.chidren: unknown key; did you mean 'children'?"
    assert (done.returncode, done.stderr) == (78, f"supervisor: error: {message}\n")


def test_init_writes_a_configuration_that_is_good(tmp_path):
    """The file that `init` writes passes `check`, and is never written over."""
    file = tmp_path / "supervisor.toml"
    (tmp_path / "app.py").write_text("async def app(scope, receive, send): ...\n")
    assert supervisor("init", "-c", str(file), cwd=tmp_path).returncode == 0
    assert supervisor("check", "-c", str(file), cwd=tmp_path).returncode == 0
    before = file.read_text()
    assert supervisor("init", "-c", str(file), cwd=tmp_path).returncode != 0
    assert file.read_text() == before


def test_types_lists_what_is_built_in():
    """Worker types and modules, with their options."""
    done = supervisor("types")
    assert done.returncode == 0
    for word in ("tcp", "udp", "http", "handler", "root", "counters", "path"):
        assert re.search(rf"\b{word}\b", done.stdout), word


def test_types_shows_one():
    """Each option with its meaning, type, default and unit; a worker's common keys as well."""
    shown = supervisor("types", "tcp").stdout
    assert "handler  (string, required)\n      package.module:function" in shown
    assert "connection_timeout = 60.0  (number > 0 and <= 31536000, s)" in shown
    assert "children = 1" in shown
    assert "children = 1" not in supervisor("types", "cache").stdout


def test_types_does_not_know_a_type():
    """A wrong command line, which names those that there are."""
    done = supervisor("types", "nonsense")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'nonsense' is none of tcp, udp" in done.stderr


def test_the_configuration_is_found_by_the_environment(serve):
    """`$SUPERVISOR_CONFIG` stands in for `-c`."""
    server = serve(web())
    variables = environment({"SUPERVISOR_CONFIG": str(server.config)})
    assert supervisor("status", env=variables).returncode == 0
    assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize("arguments", [["start", "--nonsense"], ["nonsense"], ["start", "extra"]])
def test_a_wrong_command_line(arguments):
    """Status 2."""
    assert supervisor(*arguments).returncode == 2


def test_the_summaries_are_whole():
    """Each is a sentence that fits its line."""
    shown = supervisor("--help").stdout
    assert "check       Check the configuration.\n" in shown
    assert "..." not in shown.partition("Commands:")[2]


def test_the_version_has_a_short_option():
    """As other commands have."""
    assert supervisor("-V").stdout == supervisor("--version").stdout


def test_help_names_every_command():
    """`--help` lists the commands."""
    done = supervisor("--help")
    assert done.returncode == 0
    for command in ("start", "check", "stop", "status", "stats", "init", "types"):
        assert re.search(rf"^\s+{command}\b", done.stdout, re.MULTILINE)


def test_each_command_has_help():
    """Its summary is whole in the list, and --help shows its usage."""
    listed = supervisor("--help", env=environment({"COLUMNS": "80"})).stdout
    commands = listed.partition("Commands:\n")[2].partition("\n\n")[0]
    assert "..." not in commands
    for name, summary in re.findall(r"^  (\w+) +(.*)$", commands, re.MULTILINE):
        done = supervisor(name, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"Usage: supervisor {name} ")
        assert summary in " ".join(done.stdout.split())
