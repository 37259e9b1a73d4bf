"""`supervisor run`: an application served without a file, and found by its name."""

import http.client
import os
import signal
import tomllib

import pytest

from tests.support.applications import section
from tests.support.configs import write
from tests.support.harness import DEADLINE, PROGRAMS, SUPERVISOR, environment, supervisor

FASTAPI = """\
from fastapi import FastAPI
app = FastAPI()
@app.get("/")
def home():
    return "hello"
"""
FLASK = """\
from flask import Flask
app = Flask(__name__)
@app.get("/")
def home():
    return "hello"
"""


@pytest.fixture
def name(request):
    """Return a name that no other server of this machine has."""
    return f"run-{os.getpid()}-{abs(hash(request.node.name))}"


@pytest.fixture
def served(run, name):
    """Start `supervisor run` on any port, of a name of its own, and wait until it is ready."""

    def start(app, *arguments, bind="127.0.0.1:0", **options):
        options.setdefault("extra", {"PYTHONPATH": str(PROGRAMS)})
        words = ["--bind", bind] if bind else []
        words += ["--children", "2", "-n", name, *arguments]
        program = run([SUPERVISOR, "run", app, *words], **options)
        program.wait_for("server ready ")
        return program

    return start


def get(program, path="/"):
    """Return the body of an answer of the served application."""
    (found,) = program.wait_for(r"listening worker=web address=tcp://([0-9.]+):([0-9]+)")
    connection = http.client.HTTPConnection(found[1], int(found[2]), timeout=DEADLINE)
    connection.request("GET", path)
    body = connection.getresponse().read()
    connection.close()
    return body


def stop(program):
    """Send SIGTERM, and return the status."""
    program.signal(signal.SIGTERM)
    return program.wait()


@pytest.mark.parametrize("text", [FASTAPI, FLASK], ids=["fastapi", "flask"])
def test_five_lines_in_an_empty_folder(served, tmp_path, text):
    """One command serves them, each by its own type."""
    (tmp_path / "app.py").write_text(text)
    program = served("app:app", extra={})
    assert b"hello" in get(program)
    assert stop(program) == -signal.SIGTERM


@pytest.mark.parametrize(
    ("app", "answer"),
    [
        ("interfaces:wsgi", b"wsgi"),
        ("interfaces:rsgi_object", b"rsgi"),
        ("interfaces", b"asgi"),  # its `application`
    ],
)
def test_each_interface(served, app, answer):
    """The object tells the type; of a module alone its `application` is served."""
    program = served(app)
    assert get(program) == answer
    assert stop(program) == -signal.SIGTERM


def test_a_factory(served):
    """`--factory` calls it; what it returns is looked at."""
    program = served("interfaces:factory", "--factory")
    assert get(program) == b"wsgi"
    assert stop(program) == -signal.SIGTERM


def test_it_is_found_by_its_name(served, name, tmp_path):
    """`status`, `stats`, `why` and `stop` need no file for it."""
    program = served("interfaces:wsgi")
    for command in ("status", "stats", "why"):
        done = supervisor(command, "--name", name, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert name in done.stdout
    assert supervisor("stop", "--name", name, cwd=tmp_path).returncode == 0
    assert program.wait() == -signal.SIGTERM
    assert supervisor("status", "--name", name, cwd=tmp_path).returncode == 3


def test_a_name_is_no_path():
    """`--name` takes what can be a server's name, nothing else."""
    assert supervisor("stop", "--name", "../x").returncode == 2
    assert supervisor("run", "interfaces:wsgi", "-n", "a/b").returncode == 2


def test_a_terminal_sees_one_line(served):
    """It says the application, its type, the address, the number of children, and how to end it;
    Ctrl-C does end it.
    """
    program = served("interfaces:wsgi", terminal=True)
    program.wait_for(
        r"^serving interfaces:wsgi \(wsgi\) on http://127\.0\.0\.1:[1-9][0-9]*, 2 children; "
        r"Ctrl-C stops\r$"
    )
    program.type("\x03")
    assert program.wait() == -signal.SIGINT


def test_the_environment_is_taken(served, tmp_path):
    """PORT, WEB_CONCURRENCY and FORWARDED_ALLOW_IPS, where no option says otherwise."""
    extra = {
        "PORT": "0",
        "WEB_CONCURRENCY": "3",
        "FORWARDED_ALLOW_IPS": "127.0.0.1,10.0.0.0/8",
        "PYTHONPATH": str(PROGRAMS),
    }
    done = supervisor("run", "interfaces:wsgi", "--print", env=environment(extra))
    web = tomllib.loads(done.stdout)["workers"]["web"]
    assert web["listen"] == ["tcp://0.0.0.0:0"]
    assert web["children"] == 3
    assert web["trusted_proxies"] == ["127.0.0.1", "10.0.0.0/8"]
    program = served("interfaces:wsgi", bind="", extra=extra)
    assert "address=tcp://0.0.0.0:" in program.log
    assert "children=2" in program.log
    assert stop(program) == -signal.SIGTERM


def test_a_wrong_variable_is_named():
    """The problem's line begins with the variable that has the value."""
    extra = {"WEB_CONCURRENCY": "many", "PYTHONPATH": str(PROGRAMS)}
    done = supervisor("run", "interfaces:wsgi", env=environment(extra))
    assert done.returncode == 78
    assert "WEB_CONCURRENCY: workers.web.children: expected int" in done.stderr


def test_what_is_printed_is_an_equivalent_file(tmp_path):
    """`check` takes it; a setting is in it, and the current directory is on sys.path for both."""
    (tmp_path / "app.py").write_text(FLASK)
    words = ["--bind", ":0", "--bind", "unix:w.sock", "--threads", "2"]
    setting = ["--set", "workers.web.request_timeout=5.0"]
    done = supervisor("run", "app", *words, *setting, "--print", cwd=tmp_path)
    (tmp_path / "supervisor.toml").write_text(done.stdout)
    assert supervisor("check", cwd=tmp_path).returncode == 0
    made = tomllib.loads(done.stdout)
    assert made["name"] == "app"
    assert made["workers"]["web"] == {
        "type": "wsgi",
        "app": "app",
        "children": "auto",
        "listen": ["tcp://0.0.0.0:0", f"unix://{tmp_path}/w.sock"],
        "access_log": "common",
        "threads": 2,
        "request_timeout": 5.0,
    }


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["interfaces:number"], 78, "run: 'interfaces:number' is not callable"),
        (["interfaces:asgi2"], 78, "is an ASGI 2 application; wrap it"),
        (["interfaces:anything"], 78, "does not tell its interface; say it: --set"),
        (["interfaces:zzz"], 78, "unknown name in 'interfaces'"),
        (["harness_none:app"], 78, "run: no module named 'harness_none'"),
        (["jobs"], 78, "'jobs' has neither application nor app; write jobs:NAME"),
        (["interfaces:broken_factory", "--factory"], 76, "ValueError: no database"),
        (["interfaces:wsgi", "--set", "workers.web.chidren=1"], 78, "did you mean 'children'?"),
    ],
)
def test_what_cannot_be_served(tmp_path, words, status, message):
    """One line, and the status that `start` would have."""
    variables = environment({"PYTHONPATH": str(PROGRAMS)})
    done = supervisor("run", *words, cwd=tmp_path, env=variables)
    assert done.returncode == status, done.stderr
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["check", "start"])
@pytest.mark.parametrize("engine", ["wsgi", "asgi"])
def test_a_section_of_another_type(tmp_path, engine, command):
    """An asgi application in a wsgi section, and the other way round, is refused in one line."""
    other = {"wsgi": "asgi", "asgi": "wsgi"}[engine]
    config = write(tmp_path, section(engine, app=f"interfaces:{other}"))
    done = supervisor(command, "-c", str(config))
    assert done.returncode == 78
    assert (
        f"supervisor: error: {config}: workers.web.app: 'interfaces:{other}' is of interface "
        f"{other}, the section of type '{engine}': write type = \"{other}\"\n"
    ) in done.stderr


COUNTING = """\
from flask import Flask
from prometheus_client import Counter
HITS = Counter("shop_hits", "Requests.")
app = Flask(__name__)
@app.get("/")
def home():
    HITS.inc()
    return "hello"
"""


def test_the_applications_metrics(served, tmp_path, name):
    """`run` imports the application before the master boots: its metrics count nevertheless."""
    pytest.importorskip("prometheus_client")
    (tmp_path / "app.py").write_text(COUNTING)
    program = served("app:app", "--set", "modules.metrics.size=65536", extra={})
    for _ in range(3):
        get(program)
    done = supervisor("stats", "--name", name, "--prometheus")
    assert "\nshop_hits_total 3.0\n" in done.stdout
    assert stop(program) == -signal.SIGTERM
