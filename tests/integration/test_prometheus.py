"""conf/prometheus: alerts and dashboard fit what a server exports, as promtool and Prometheus
themselves judge them.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml

from tests.support.clients import endpoint
from tests.support.configs import table
from tests.support.harness import DEADLINE

parser = pytest.importorskip("prometheus_client.parser")

CONF = Path(__file__).parents[2] / "conf" / "prometheus"
ALERTS = yaml.safe_load((CONF / "alerts.yml").read_text())
DASHBOARD = json.loads((CONF / "dashboard.json").read_text())
NEEDS = "needs promtool and prometheus (Debian: prometheus)"
PROMETHEUS = pytest.mark.skipif(
    not (shutil.which("promtool") and shutil.which("prometheus")), reason=NEEDS
)


def rules():
    """Return the expression of each alert, by name."""
    return {one["alert"]: one["expr"] for group in ALERTS["groups"] for one in group["rules"]}


def queries():
    """Return the queries of the dashboard by title, as Grafana would fill them in."""
    found = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    }
    found["crashes"] = DASHBOARD["annotations"]["list"][0]["expr"]
    return {title: filled(expression) for title, expression in found.items()}


def filled(expression):
    """Return a query with the values of Grafana's variables."""
    for variable in ("$server", "$worker"):
        expression = expression.replace(variable, ".*")
    return expression.replace("$__rate_interval", "1m")


def names(expressions):
    """Return the names of our metrics in these queries."""
    return set(re.findall(r"\bsupervisor_\w+", " ".join(expressions)))


def promtool(*words, **options):
    """Run promtool, which has nothing to complain of."""
    done = subprocess.run(
        ["promtool", *words],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def crashed(serve):
    """A server that has had a crash, with a page of metrics."""
    web = table(
        "workers.web",
        type="wsgi",
        app="applications:wsgi",
        listen=["tcp://127.0.0.1:0"],
        children=2,
    )
    status = table("workers.status", type="status", listen=["tcp://127.0.0.1:0"])
    server = serve(web + status, master={"restart": "on-crash"})
    os.kill(server.children()[0], signal.SIGKILL)
    server.wait_for(r"server ready .*generation=2\b")
    return server


def fetched(server, section, path="/"):
    """Return what a section answers."""
    host, port = endpoint(server.address(section))
    with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=DEADLINE) as answer:
        return answer.read().decode()


@PROMETHEUS
def test_promtool_finds_nothing_wrong():
    """The configuration, the rules, and what each of them fires at."""
    promtool("check", "config", "prometheus.yml", cwd=CONF)
    promtool("test", "rules", "alerts_test.yml", cwd=CONF)


def test_each_alert_is_tested_to_fire_and_to_be_silent():
    """No rule is without both."""
    tests = yaml.safe_load((CONF / "alerts_test.yml").read_text())["tests"]
    fires, silent = set(), set()
    for one in tests:
        for case in one["alert_rule_test"]:
            (fires if case.get("exp_alerts") else silent).add(case["alertname"])
    assert fires == silent == set(rules())


def test_every_name_is_one_that_we_export(crashed):
    """In the alerts, in their tests and in the dashboard."""
    fetched(crashed, "web")
    exported = {
        sample.name
        for family in parser.text_string_to_metric_families(fetched(crashed, "status", "/metrics"))
        for sample in family.samples
    }
    assert names(rules().values()) <= exported
    assert names(queries().values()) <= exported
    assert names([(CONF / "alerts_test.yml").read_text()]) <= exported
    variables = [one["query"]["query"] for one in DASHBOARD["templating"]["list"][1:]]
    assert names(variables) <= exported
    assert crashed.stop() == -signal.SIGTERM


def test_the_panels_do_not_overlap():
    """Each has a place of its own, and an id."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for where in (panel["gridPos"] for panel in panels)
        for x in range(where["x"], where["x"] + where["w"])
        for y in range(where["y"], where["y"] + where["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) == 23


@pytest.fixture
def witness():
    """A target that tells the test of each scrape: whoever answers one has seen it begin."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE)
        yield listener


def wait_for_scrapes(witness, count):
    """Answer so many; Prometheus asks all its targets as often as this one."""
    for _ in range(count):
        with witness.accept()[0] as connection:
            connection.settimeout(DEADLINE)
            connection.recv(65536)
            connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nseen 1\n")


class Prometheus:
    """A running one that scrapes a server every two seconds."""

    def __init__(self, run, tmp_path, targets):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]
        config = yaml.safe_load((CONF / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "2s", "evaluation_interval": "2s"}
        config["rule_files"] = [str(CONF / "alerts.yml")]
        config["scrape_configs"][0]["static_configs"] = [{"targets": targets}]
        file = tmp_path / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        self._program = run(
            [
                "prometheus",
                f"--config.file={file}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
            ]
        )
        self._program.wait_for("Server is ready to receive web requests")

    def ask(self, path, **query):
        """Return the data of an answer of its API."""
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
            return json.load(answer)["data"]

    def stop(self):
        """End it in order."""
        self._program.signal(signal.SIGTERM)
        assert self._program.wait() == 0


@PROMETHEUS
def test_a_real_prometheus(crashed, run, tmp_path, witness):
    """It scrapes the page, every panel of the dashboard has something to show, and every alert can
    be evaluated; those of a server in good order but for one crash are silent, but for that.
    """
    targets = [crashed.address("status").removeprefix("tcp://")]
    targets.append(f"127.0.0.1:{witness.getsockname()[1]}")
    prometheus = Prometheus(run, tmp_path, targets)
    wait_for_scrapes(witness, 2)
    fetched(crashed, "web")
    wait_for_scrapes(witness, 4)
    up = prometheus.ask("query", query='up{job="supervisor"}')["result"]
    assert {one["value"][1] for one in up} == {"1"}
    for title, query in queries().items():
        result = prometheus.ask("query", query=query)["result"]
        assert result or title == "crashes", (title, query)
    found = prometheus.ask("rules")["groups"][0]["rules"]
    assert {rule["name"] for rule in found} == set(rules())
    assert {rule["health"] for rule in found} == {"ok"}
    firing = {rule["name"] for rule in found if rule["state"] == "firing"}
    assert firing == {"SupervisorChildDied"}
    prometheus.stop()
    assert crashed.stop() == -signal.SIGTERM
