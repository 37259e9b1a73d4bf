"""`supervisor convert`: the options of another server as a file, checked and served."""

import http.client
import signal
import tomllib

import pytest

from tests.support.harness import DEADLINE, Server, supervisor

GUNICORN = (
    "gunicorn proj.wsgi -w 4 -b 0.0.0.0:8000 --timeout 30 --max-requests 1000 --access-logfile -"
)
UVICORN = "uvicorn app:app --reload --workers 4 --proxy-headers"
APP = """\
from fastapi import FastAPI
app = FastAPI()
@app.get("/")
def home():
    return "hello"
"""
WSGI = """\
from flask import Flask
application = Flask(__name__)
@application.get("/")
def home():
    return "hello"
"""
INI = """\
[uwsgi]
; a comment
http = :8080
socket = /run/x.sock
wsgi-file = proj/wsgi.py
callable = app
master = true
processes = 4
threads = 2
harakiri = 30
env = A=1
env = B=2
uid = www-data
stats = :1717
lazy-apps = true
odd = 1
"""


def converted(*words, **options):
    """Return the tables of a conversion, and what it says on standard error."""
    done = supervisor("convert", *words, **options)
    assert done.returncode == 0, done.stderr
    return tomllib.loads(done.stdout), done.stderr


def test_gunicorn():
    """Each option by its equivalent; what has none is named, with what to do."""
    made, said = converted(*GUNICORN.split())
    assert made == {
        "name": "proj",
        "master": {"renew": {"requests": 1000}},
        "workers": {
            "web": {
                "type": "wsgi",
                "app": "proj.wsgi:application",
                "children": 4,
                "listen": ["tcp://0.0.0.0:8000"],
                "access_log": "combined",
            }
        },
    }
    assert "gunicorn: --timeout: it is not request_timeout" in said


def test_uvicorn():
    """Its access log and proxy headers are on; `--reload` is for development."""
    made, said = converted(*UVICORN.split())
    assert made["workers"]["web"] == {
        "type": "asgi",
        "app": "app:app",
        "children": 4,
        "listen": ["tcp://127.0.0.1:8000"],
        "access_log": "common",
        "trusted_proxies": ["127.0.0.1"],
    }
    assert said.startswith("uvicorn: --reload: ")


def test_uwsgi(tmp_path):
    """Keys that stand there twice, the socket that spoke another protocol, and an unknown one."""
    (tmp_path / "app.ini").write_text(INI)
    made, said = converted("app.ini", cwd=tmp_path)
    assert made["workers"]["web"] == {
        "type": "wsgi",
        "app": "proj.wsgi:app",
        "children": 4,
        "listen": ["tcp://0.0.0.0:8080", "unix:///run/x.sock"],
        "threads": 2,
        "request_timeout": 30.0,
        "env": {"A": "1", "B": "2"},
        "preload": False,
    }
    assert made["master"] == {"user": "www-data"}
    assert "proxy_pass, not uwsgi_pass" in said
    assert "uwsgi: stats: use a section of type status" in said
    assert "uwsgi: odd: not known here" in said


@pytest.mark.parametrize(
    ("words", "section"),
    [
        ("gunicorn -w2 a:b", {"children": 2, "app": "a:b"}),
        ("gunicorn a:make()", {"app": "a:make", "factory": True}),
        ("gunicorn a:b -k uvicorn.workers.UvicornWorker", {"type": "asgi"}),
        ("gunicorn a:b --keep-alive=5 --threads 8", {"keep_alive": 5.0, "threads": 8}),
        ("gunicorn a:b --certfile c --keyfile k", {"tls": {"certificate": "c", "key": "k"}}),
        ("uvicorn --host :: --port 9 a:b", {"listen": ["tcp://[::]:9"]}),
        ("uvicorn a:b --uds /run/a.sock", {"listen": ["unix:///run/a.sock"]}),
        ("uvicorn a:b --no-access-log --no-proxy-headers", {"access_log": "off"}),
        (
            "uvicorn a:b --forwarded-allow-ips 10.0.0.1,::1",
            {"trusted_proxies": ["10.0.0.1", "::1"]},
        ),
    ],
)
def test_single_options(words, section):
    """Short ones with their value, values behind =, tables, addresses, switches."""
    made, _ = converted(*words.split())
    assert section.items() <= made["workers"]["web"].items()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("gunicorn -w 4", 78, "gunicorn: no application is named"),
        ("gunicorn a:b -w many", 2, "'many' is no number"),
        ("gunicorn a:b -w", 2, "-w of gunicorn needs a value"),
        ("nginx", 2, "the first word is gunicorn, uvicorn, or a FILE.ini"),
        ("gone.ini", 78, "gone.ini: No such file"),
    ],
)
def test_what_cannot_be_converted(tmp_path, words, status, said):
    """A wrong command line is 2, a file that is not there 78."""
    done = supervisor("convert", *words.split(), cwd=tmp_path)
    assert done.returncode == status
    assert said in done.stderr


@pytest.mark.parametrize("command", [GUNICORN, UVICORN])
def test_what_it_prints_is_checked_and_serves(tmp_path, started, command):
    """Both lines of every guide: converted, checked, served."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "proj").mkdir()
    (tmp_path / "proj/wsgi.py").write_text(WSGI)
    done = supervisor("convert", *command.split(), cwd=tmp_path)
    (tmp_path / "made.toml").write_text(done.stdout)
    assert supervisor("check", "-c", "made.toml", cwd=tmp_path).returncode == 0
    words = ["--set", 'workers.web.listen=["tcp://127.0.0.1:0"]']
    words += ["--set", f"master.runtime_directory={tmp_path / 'made.run'}"]
    started.append(server := Server(tmp_path, tmp_path / "made.toml", arguments=words))
    server.wait_for("server ready .*children=4")
    host, _, port = server.address().removeprefix("tcp://").rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=DEADLINE)
    connection.request("GET", "/")
    assert b"hello" in connection.getresponse().read()
    connection.close()
    assert server.stop() == -signal.SIGTERM
