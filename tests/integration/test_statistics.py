"""The figures agree with what clients know, and asking for them is cheap."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from http.client import HTTPConnection

import msgspec
import pytest

from supervisor.views.rates import between
from supervisor.views.records import LiveStatistics
from tests.support.clients import ask, dial, endpoint, rest
from tests.support.configs import table, web
from tests.support.harness import DEADLINE, environment

STATUS = table("workers.status", type="status", listen=["tcp://127.0.0.1:0"])


def look(server):
    """Return the detailed picture that the status worker serves."""
    connection = HTTPConnection(*endpoint(server.address("status")), timeout=DEADLINE)
    connection.request("GET", "/stats.json")
    facts = json.loads(connection.getresponse().read())
    connection.close()
    return facts


@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk")
def test_what_wrk_counts_is_counted(serve):
    """Every answer that a load generator got is one request, and nothing else is."""
    server = serve(web("watched:http", children=2) + STATUS)
    host, port = endpoint(server.address())
    done = subprocess.run(
        ["wrk", "-t1", "-c4", "-d2s", f"http://{host}:{port}/"],
        capture_output=True, text=True, timeout=DEADLINE, check=True,
    )  # fmt: skip
    answered = int(re.findall(r"(\d+) requests in", done.stdout)[0])
    counted = server.stats()["totals"]["requests"]
    # When its time is up wrk leaves of each connection an answer unread, a next one just begun.
    assert answered <= counted <= answered + 2 * 4
    assert answered > 100
    assert server.stop() == -signal.SIGTERM


def test_ten_thousand_are_ten_thousand(serve):
    """The counts of all children add up to exactly what was sent."""
    server = serve(web(children=4) + STATUS)
    for _ in range(10_000):
        ask(server)
    assert server.stats()["workers"][0]["requests"] == 10_000
    assert sum(count for _, count in look(server)["workers"][0]["histogram"]) == 10_000
    assert server.stop() == -signal.SIGTERM


def test_percentiles_are_what_the_client_saw(serve):
    """With known delays p50, p90 and p99 lie within an eighth of the client's own."""
    server = serve(web("watched:slow", children=1))
    delays = [10] * 60 + [40] * 35 + [150] * 5  # ms
    seen = []
    for delay in delays:
        begun = time.monotonic()
        ask(server, str(delay).encode())
        seen.append(time.monotonic() - begun)
    latency = server.stats()["workers"][0]["latency"]
    for name, delay in (("p50", 0.01), ("p90", 0.04), ("p99", 0.15)):
        fraction = int(name[1:]) / 100
        client = sorted(seen)[int(fraction * len(seen)) - 1]
        assert delay * 0.9375 <= latency[name] <= client * 1.125
    assert latency["max"] <= max(seen)
    assert server.stop() == -signal.SIGTERM


def test_rates_right_after_a_restart(serve):
    """A generation that counts from zero gives rates of its own: neither negative nor a jump."""
    server = serve(web(children=2) + STATUS, master={"restart": "on-crash"})
    for _ in range(200):
        ask(server)
    before = look(server)
    os.kill(server.children()[0], signal.SIGKILL)
    server.wait_for("server ready .*generation=2")
    for _ in range(5):
        ask(server)
    now = look(server)
    first, then = (msgspec.convert(facts, LiveStatistics) for facts in (before, now))
    seconds = then.monotonic - first.monotonic
    assert between(first, then).sections["web"].requests == pytest.approx(5 / seconds)
    assert server.stop() == -signal.SIGTERM


def test_statistics_of_five_hundred_children(serve):
    """USR1 is answered with a line for each."""
    server = serve(web(children=500))
    since = len(server.log)
    server.signal(signal.SIGUSR1)
    server.wait_for(r"^ +web +499 ", since=since)
    assert len(re.findall(r"(?m)^ +web +\d+ ", server.log[since:])) == 500
    assert server.stop() == -signal.SIGTERM


def test_readers_need_no_right_to_write(serve, unprivileged):
    """Every reader works where the kernel refuses it any change, and no byte has changed."""
    server = serve(web())
    files = [server.runtime / "scoreboard", server.runtime / "lock"]
    for file in files:
        file.chmod(0o444)
    server.runtime.chmod(0o555)
    os.kill(server.pid, signal.SIGSTOP)
    for pid in server.children().values():
        os.kill(pid, signal.SIGSTOP)
    image = files[0].read_bytes()
    for form in ([], ["--json"], ["--prometheus"]):
        command = [*unprivileged, server.process.args[0], "stats", "-c", str(server.config), *form]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DEADLINE, env=environment(), check=True
        )
        assert "frozen" in done.stdout
    assert files[0].read_bytes() == image
    server.runtime.chmod(0o755)
    server.signal(signal.SIGCONT)
    assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "truncated"),
        (b"x" * 4096, "not a scoreboard"),
        (b"prefork\0" + (99).to_bytes(8, "little") + bytes(4096), "version 99"),
    ],
)
def test_a_file_that_is_no_scoreboard_of_ours(serve, content, says):
    """Each reader says what is wrong in one line, and the server goes on."""
    server = serve(web())
    board = server.runtime / "scoreboard"
    good = board.read_bytes()
    aside = board.with_name("aside")
    board.rename(aside)
    board.write_bytes(content)
    for command in (["stats"], ["stats", "--json"], ["stats", "--prometheus"], ["top"]):
        done = server.command(*command)
        assert done.returncode == 70
        assert len(done.stderr.splitlines()) == 1
        assert says in done.stderr
    board.unlink()
    done = server.command("stats")
    assert "try again" in done.stderr
    aside.rename(board)
    assert len(good) == len(board.read_bytes())
    assert server.command("stats").returncode == 0
    assert server.stop() == -signal.SIGTERM


def test_readers_while_generations_change(serve):
    """Somebody who asks all the time gets an answer each time, while the server crashes on."""
    server = serve(web("handlers:vanishing", children=2), master={"restart": "on-crash"})
    generations = set()
    while len(generations) < 3:
        with dial(server) as connection:
            rest(connection)
        done = server.command("stats", "--json")
        assert done.returncode == 0, done.stderr
        generations.add(json.loads(done.stdout)["generation"])
    assert server.stop() == -signal.SIGTERM
