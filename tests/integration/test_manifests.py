"""The files for containers and Kubernetes fit the server's own deadlines and pages."""

import http.client
import re
import signal
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from supervisor.config.load import load
from tests.support.clients import endpoint
from tests.support.harness import DEADLINE, Server

CONF = Path(__file__).parents[2] / "conf"
MANIFESTS = sorted((CONF / "kubernetes").glob("*.yaml"))


def manifest(kind):
    """Return the manifest of a kind."""
    loaded = [yaml.safe_load(path.read_text()) for path in MANIFESTS]
    return next(one for one in loaded if one["kind"] == kind)


@pytest.fixture
def container():
    """The one container of the Deployment."""
    (one,) = manifest("Deployment")["spec"]["template"]["spec"]["containers"]
    return one


@pytest.fixture
def loaded(tmp_path):
    """The server's configuration, out of the ConfigMap."""
    file = tmp_path / "supervisor.toml"
    file.write_text(manifest("ConfigMap")["data"]["supervisor.toml"])
    read, problems = load(file)
    problems.raise_if_any()
    return read


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
@pytest.mark.parametrize("version", ["1.28", "1.33"])
def test_every_manifest_is_valid(path, version):
    """Strictly: no field that Kubernetes does not know."""
    assert kubernetes_validate.validate(yaml.safe_load(path.read_text()), version, strict=True)


def test_the_grace_period_is_beyond_our_deadlines(container, loaded):
    """preStop, stop_timeout and destroy_timeout together leave time to spare."""
    pod = manifest("Deployment")["spec"]["template"]["spec"]
    pause = float(container["lifecycle"]["preStop"]["exec"]["command"][1])
    ours = pause + loaded.master.stop_timeout + loaded.master.destroy_timeout
    assert pod["terminationGracePeriodSeconds"] >= ours + 5
    probe = container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > loaded.master.start_timeout


def test_the_probes_ask_the_status_worker(container, loaded):
    """Its port and its pages; the traffic goes to the other section."""
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    sections = {one.common.type: one.listen[0].address.port for one in loaded.workers}
    assert sections == {"asgi": ports["http"], "status": ports["status"]}
    pages = {
        name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")
    }
    assert pages == {
        "startup": {"path": "/readyz", "port": "status"},
        "readiness": {"path": "/readyz", "port": "status"},
        "liveness": {"path": "/healthz", "port": "status"},
    }
    assert manifest("Service")["spec"]["ports"][0]["targetPort"] == "http"


def test_what_it_writes_is_mounted(container, loaded):
    """The root is read-only; the runtime directory is a volume."""
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert loaded.master.runtime_directory in mounts


def test_all_select_the_same_pods():
    """Deployment, Service, disruption budget and autoscaler mean one thing."""
    labels = manifest("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert manifest("Service")["spec"]["selector"] == labels
    assert manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    target = manifest("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert target["name"] == manifest("Deployment")["metadata"]["name"]


def test_the_image_runs_it_as_pid_1_and_as_no_root():
    """An exec-form entry point without a wrapper, a user by number, and files that exist."""
    text = (CONF / "container/Dockerfile").read_text()
    assert re.search(r'^ENTRYPOINT \["supervisor", "start"\]$', text, re.MULTILINE)
    assert re.search(r"^USER [1-9]\d*$", text, re.MULTILINE)
    assert re.search(r"^STOPSIGNAL SIGTERM$", text, re.MULTILINE)
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    for source in " ".join(copied).split():
        assert (CONF.parent / source).exists(), source
    read, problems = load(CONF / "container/supervisor.toml")
    assert (problems.lines, read.log.format, read.master.restart) == ([], "json", "on-crash")
    assert "'.[http,metrics]'" in text


def test_the_image_serves_an_application_and_its_metrics(started, tmp_path):
    """The image's configuration and application, on any port."""
    settings = [
        f"master.runtime_directory={tmp_path / 'run'}",
        *(f'workers.{name}.listen=["tcp://127.0.0.1:0"]' for name in ("web", "status")),
        "workers.web.children=2",
    ]
    words = [word for setting in settings for word in ("--set", setting)]
    config = CONF / "container/supervisor.toml"
    started.append(server := Server(CONF / "container", config, arguments=words))
    server.wait_for("server ready|server stopped")
    assert asked(server, "web", "/") == b"served by a supervisor"
    assert b"supervisor_ready{" in asked(server, "status", "/metrics")
    assert server.stop() == -signal.SIGTERM


def asked(server, section, path):
    """Return the body of an answer."""
    connection = http.client.HTTPConnection(*endpoint(server.address(section)), timeout=DEADLINE)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()
