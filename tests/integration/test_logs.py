"""Our log is ours, each line of a JSON log is an object, and nobody forges an entry."""

import json
import re
import shutil
import signal
import socket

import pytest

from tests.support.applications import get, section
from tests.support.clients import ask, connect, finish, rest
from tests.support.configs import table, web
from tests.support.harness import DEADLINE

LOUD = web("loud:serve", children=1)
INSTANT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
HOWS = ("dictConfig", "django", "fileConfig", "basicConfig", "clear", "disable", "shutdown")


@pytest.fixture
def serve_silently(launch, tmp_path):
    """Start a server that logs to a file, and wait until the service manager knows it is ready;
    return the server, and what asks it.
    """
    path = str(tmp_path / "web")

    def start(file, *, extra, **log):
        text = web("loud:serve", children=1, listen=[f"unix://{path}"])
        text += table("log", file=str(file), **log)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.settimeout(DEADLINE)
            manager.bind(str(tmp_path / "notify"))
            extra = {"NOTIFY_SOCKET": str(tmp_path / "notify"), **extra}
            server = launch(text, master={"preload": ["loud"]}, extra=extra)
            while b"READY=1" not in manager.recv(4096).split(b"\n"):
                pass
        return server, say

    def say(command):
        connection = connect(f"unix://{path}")
        connection.sendall(command.encode())
        finish(connection)
        return rest(connection)

    return start


def objects(text):
    """Every line of a JSON log."""
    return [json.loads(line) for line in text.splitlines()]


def only(entries, **facts):
    """The one entry with these facts."""
    found = [entry for entry in entries if facts.items() <= entry.items()]
    assert len(found) == 1, (facts, found)
    return found[0]


@pytest.mark.parametrize("where", ["master", "child"])
@pytest.mark.parametrize("how", HOWS)
def test_whatever_an_application_does_to_logging(serve_silently, how, where, tmp_path):
    """Our entries keep format, level and file, and the crash report is whole."""
    extra = {"MEDDLING": how} if where == "master" else {}
    server, say = serve_silently(tmp_path / "log", extra=extra)
    if where == "child":
        assert say(how) == b"done\n"
    assert say("raise") == b""
    assert say("segv") == b""
    assert server.wait() == 70
    log = (tmp_path / "log").read_text()
    for event in (r"INFO master.* server ready", r"INFO master.* server stopped status=70"):
        assert len(re.findall(f"^{INSTANT} {event}", log, re.M)) == 1
    assert re.search(rf"^{INSTANT} ERROR web/0.* request failed(?s:.*)IndexError: list", log, re.M)
    assert re.search(rf"^{INSTANT} ERROR master.* child died .*cause=SIGSEGV", log, re.M)
    assert "Fatal Python error: Segmentation fault" in log
    assert re.search(r'loud\.py", line \d+ in serve', log)


def test_the_applications_records(serve):
    """They come to us, with their name; those of the logger that is configured go where it says."""
    server = serve(LOUD)
    assert ask(server, b"django") == b"done\n"
    assert ask(server, b"log") == b"done\n"
    assert ask(server, b"uvicorn") == b"done\n"
    assert ask(server, b"clear") == b"done\n"
    assert ask(server, b"log") == b"done\n"
    server.stop()
    told = re.findall(rf"^{INSTANT} \w+ web/0\[\d+\] (?:shop|django|uv)\S+ .*", server.log, re.M)
    words = [" ".join(line.split()[3:]) for line in told]
    assert words == [
        "shop.cart: sold",
        "shop.cart: not sold",
        "django.request: asked",
        "uvicorn.error: heard",
    ]
    assert re.findall("^django says asked$", server.log, re.M)
    assert (
        len(re.findall(rf"^{INSTANT} WARNING web/0\[\d+\] offered amount=4$", server.log, re.M))
        == 2
    )


def test_a_json_log_through_a_whole_life(serve):
    """Start, requests, prints, a warning, a thread's exception, a crash, the stop: each line is an
    object, and ours have their facts as keys.
    """
    commands = "hello print part stderr bytes warn log thread raise forge"
    server = serve(LOUD + table("log", format="json"), extra={"PYTHONWARNINGS": "always"})
    for command in commands.split():
        ask(server, command.encode())
    (child,) = server.children().values()
    server.signal(signal.SIGUSR1)
    server.wait_for('"event": "statistics".*"table": "')
    ask(server, b"segv")
    assert server.wait() == 70
    log = objects(server.log)
    for entry in log:
        assert {"time", "level", "logger", "message", "pid", "worker", "slot"} <= entry.keys()
    in_child = {"pid": child, "worker": "web", "slot": 0}
    assert only(log, event="server ready")["children"] == 1
    assert only(log, event="child ready", worker="web", slot=0, pid=child)["after"] > 0
    for message in ("printed", "and again", "a part", r"caf\xe9"):
        only(log, message=message, logger="stdout", level="info", **in_child)
    only(log, message="said", logger="stderr", level="warning", **in_child)
    warned = only(log, message="DeprecationWarning: old", logger="py.warnings", level="warning")
    assert warned["file"].endswith("loud.py")
    sold = only(log, message="sold", logger="shop.cart", amount=3, by="nan", **in_child)
    assert "what" in sold
    not_sold = only(log, message="not sold", logger="shop.cart", level="error")
    assert not_sold["traceback"].endswith("ValueError: in hand")
    only(log, event="offered", amount=4, **in_child)
    assert "LookupError: in a thread" in only(log, logger="threading", level="error")["traceback"]
    failed = [entry for entry in log if entry.get("event") == "request failed"]
    assert all(entry["peer"].startswith("127.0.0.1:") for entry in failed)
    assert [entry["traceback"].count("IndexError") for entry in failed] == [1, 0]
    died = only(log, event="child died", cause="SIGSEGV", signal="SIGSEGV", level="error")
    assert died["traceback"].startswith("Fatal Python error: Segmentation fault")
    assert died.items() >= {"worker": "web", "slot": 0, "pid": child, "state": "busy"}.items()
    assert isinstance(died["peak_rss"], int)
    only(log, event="server stopped", status=70)
    assert re.match("workers.web: slot 0 died", log[-2]["message"])


def test_a_json_log_that_is_stopped(serve):
    """Nothing else is written by a server that ends well."""
    server = serve(LOUD + table("log", format="json"))
    assert server.stop() == -signal.SIGTERM
    assert only(objects(server.log), event="server stopping")["reason"] == "SIGTERM"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (web("nowhere:serve"), 78),
        (web("loud:serve", colour="red"), 78),
        (web("broken:serve"), 76),
    ],
)
def test_an_expected_error_is_an_object_too(launch, text, status):
    """The line that ends a start is an object where the log is JSON; so is what user code raised,
    with its traceback.
    """
    server = launch(text + table("log", format="json"))
    assert server.wait() == status
    *raised, last = [one for one in objects(server.log) if one["level"] == "error"]
    assert "workers.web" in last["message"]
    assert ["LookupError" in one["traceback"] for one in raised] == [True] * (status == 76)


def test_an_exception_cannot_forge_an_entry(serve):
    """Its further lines are indented, and what commands a terminal is escaped."""
    server = serve(LOUD)
    ask(server, b"forge")
    server.stop()
    assert "worker=forged" in server.log
    assert not re.search(f"^{INSTANT} ERROR master.*forged", server.log, re.M)
    assert r"\x1b[2J\x9b2J\r" in server.log
    assert not re.search("[\x1b\x9b\r\u2028]", server.log)


def lost(server, file):
    """The lines on stderr about a log file that cannot be opened again."""
    return re.findall(rf"supervisor: error: {file}: cannot be opened again: \w.*", server.log)


def test_a_log_file_that_cannot_be_opened_again(serve_silently, tmp_path):
    """Its directory is removed: the server goes on, says it once, and tries again."""
    file = tmp_path / "logs/log"
    file.parent.mkdir()
    server, say = serve_silently(file, extra={})
    shutil.rmtree(file.parent)
    server.signal(signal.SIGUSR1)
    server.wait_for("cannot be opened again")
    assert say("raise") == b""
    assert say("raise") == b""
    assert say("hello") == b"done\n"
    assert not file.exists()
    file.parent.mkdir()
    assert say("raise") == b""
    assert "IndexError" in file.read_text()
    assert server.stop() == -signal.SIGTERM
    assert len(lost(server, file)) == 2  # the master, and the child
    assert file.read_text().splitlines()[-1].endswith("server stopped status=SIGTERM")


def test_an_access_log_that_cannot_be_opened_again(serve, tmp_path):
    """The same for an access log."""
    file = tmp_path / "logs/access"
    file.parent.mkdir()
    logged = {"access_log": "common", "access_log_file": str(file), "children": 1}
    server = serve(section("wsgi", **logged))
    assert get(server)[0] == 200
    shutil.rmtree(file.parent)
    for _ in range(3):
        assert get(server)[0] == 200
    server.wait_for("cannot be opened again")
    file.parent.mkdir()
    assert get(server, "/again")[0] == 200
    assert server.stop() == -signal.SIGTERM
    assert file.read_text().count('"GET /again HTTP/1.1" 200') == 1
    assert len(lost(server, file)) == 1


@pytest.mark.parametrize("engine", ["wsgi", "asgi", "rsgi"])
def test_a_json_log_of_an_application(serve, engine):
    """The engines' words are objects too, and an application's exception has its traceback."""
    server = serve(section(engine) + table("log", format="json", level="debug"))
    assert get(server)[0] == 200
    assert get(server, "/boom")[0] == 500
    server.wait_for("ValueError: boom")
    assert server.stop() == -signal.SIGTERM
    failed = [entry for entry in objects(server.log) if "ValueError: boom" in str(entry)]
    assert failed[0]["level"] == "error"
    assert failed[0]["worker"] == "web"
    assert failed[0]["traceback"].rstrip().endswith("ValueError: boom")


@pytest.mark.parametrize(
    ("extra", "expected"), [({}, "\x1b[33mWARNING\x1b[0m"), ({"NO_COLOR": "1"}, " WARNING ")]
)
def test_colour_on_a_terminal(serve, extra, expected):
    """A level that is urgent shows at a glance, unless the user wants none."""
    server = serve(LOUD, terminal=True, extra={"TERM": "xterm"} | extra)
    assert ask(server, b"log") == b"done\n"
    server.wait_for(" offered amount=4")
    assert server.stop() == -signal.SIGTERM
    (line,) = re.findall(".* offered amount=4", server.log)
    assert expected in line


def test_a_client_cannot_forge_an_entry(serve, tmp_path):
    """The bytes that a client sends are escaped, at level debug too."""
    text = table("workers.web", type="http", listen=["tcp://127.0.0.1:0"], root=str(tmp_path))
    server = serve(text + table("log", level="debug"))
    for odd in (b"\x1b[2J", b"\r", b"\x9b2J", b"\xe2\x80\xa8"):
        ask(server, b"GET /" + odd + b"2026-01-01T00:00:00.000Z HTTP/1.1\r\nHost: x\r\n\r\n")
    assert server.stop() == -signal.SIGTERM
    assert not re.search("[\x1b\r\x9b\u2028]", server.log)
    assert not re.search("^2026-01-01", server.log, re.M)


def test_the_logger_of_uvicorn_is_heard(serve):
    """Applications log to it, whichever engine serves them."""
    server = serve(section("asgi", app="loud:asgi"))
    assert get(server)[0] == 204
    server.wait_for(r"INFO web/\d\[\d+\] uvicorn\.error: heard$")
    assert server.stop() == -signal.SIGTERM
