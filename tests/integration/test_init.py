"""`supervisor init` reads a folder and writes a configuration for what it seems to hold."""

import http.client
import signal
import tomllib

import pytest

from tests.support.harness import DEADLINE, Server, supervisor

FASTAPI = "from fastapi import FastAPI\n\nshop: FastAPI = FastAPI(title='x')\n"
FLASK = "import flask\n\nsite = flask.Flask(__name__)\n"
MANAGE = "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'proj.settings')\n"


@pytest.mark.parametrize(
    ("files", "words", "app", "kind"),
    [
        ({}, [], "app:app", "asgi"),
        ({"main.py": FASTAPI}, [], "main:shop", "asgi"),
        ({"pkg/__init__.py": FLASK}, [], "pkg:site", "wsgi"),
        ({"pkg/web.py": FLASK}, [], "pkg.web:site", "wsgi"),
        ({"manage.py": MANAGE, "proj/wsgi.py": ""}, [], "proj.wsgi:application", "wsgi"),
        ({"manage.py": MANAGE, "proj/asgi.py": ""}, [], "proj.asgi:application", "asgi"),
        ({"a.py": FASTAPI, "b.py": FLASK}, ["--app", "b:site"], "b:site", "wsgi"),
        ({"a.py": FASTAPI}, ["--app", "x:y", "--type", "wsgi"], "x:y", "wsgi"),
        ({"a.py": 'text = "FastAPI()"\n# app = FastAPI()\n'}, [], "app:app", "asgi"),
    ],
)
def test_what_it_finds(tmp_path, files, words, app, kind):
    """The application and its type; a status section on loopback, an access log, no directory."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    done = supervisor("init", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = tomllib.loads((tmp_path / "supervisor.toml").read_text())
    web, status = written["workers"].values()
    assert (web["app"], web["type"], web["access_log"]) == (app, kind, "common")
    assert status == {"type": "status", "listen": ["tcp://127.0.0.1:9000"]}
    assert written["master"]["restart"] == "on-crash"
    assert "root" not in (tmp_path / "supervisor.toml").read_text()


def test_what_it_writes_serves(tmp_path, started):
    """Five lines of Flask: initialised, checked, started, asked."""
    text = f"{FLASK}\n@site.get('/')\ndef home():\n    return 'hello'\n"
    (tmp_path / "shop.py").write_text(text)
    assert supervisor("init", cwd=tmp_path).returncode == 0
    assert supervisor("check", cwd=tmp_path).returncode == 0
    settings = [f"master.runtime_directory={tmp_path / 'run'}", "workers.web.children=2"]
    settings += [f'workers.{name}.listen=["tcp://127.0.0.1:0"]' for name in ("web", "status")]
    words = [word for setting in settings for word in ("--set", setting)]
    started.append(server := Server(tmp_path, tmp_path / "supervisor.toml", arguments=words))
    server.wait_for("server ready ")
    host, _, port = server.address().removeprefix("tcp://").rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=DEADLINE)
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"hello"
    connection.close()
    assert server.stop() == -signal.SIGTERM
