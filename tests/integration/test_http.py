"""Static files over HTTP, as a client with bad manners asks for them."""

import http.client
import os
import shutil
import signal
import socket
import subprocess

import pytest

from tests.support.clients import endpoint
from tests.support.configs import table
from tests.support.harness import DEADLINE


@pytest.fixture
def site(serve, tmp_path):
    """A server of a root with a file, a folder, and links out of it; a secret beside the root."""
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "hello.txt").write_text("hello\n")
    (root / "folder" / "inner.txt").write_text("inner\n")
    (tmp_path / "secret.txt").write_text("secret\n")
    (tmp_path / "root-twin").mkdir()
    (tmp_path / "root-twin" / "secret.txt").write_text("secret\n")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "up").symlink_to("..")
    (root / "within.txt").symlink_to("folder/inner.txt")
    (root / "trap").mkdir()
    (root / "trap" / "index.html").symlink_to(tmp_path / "secret.txt")
    server = serve(
        table("workers.web", type="http", listen=["tcp://127.0.0.1:0"], children=2, root=str(root))
    )
    yield server
    assert server.stop() == -signal.SIGTERM


def get(server, path, method="GET"):
    """Return status and body; the path goes over the wire as it is."""
    connection = http.client.HTTPConnection(*endpoint(server.address()), timeout=DEADLINE)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def curl(server, *arguments):
    """Run curl on the path that comes last; return what it printed."""
    *options, path = arguments
    host, port = endpoint(server.address())
    command = ["curl", "-sS", "--path-as-is", *options, f"http://{host}:{port}{path}"]
    done = subprocess.run(command, capture_output=True, timeout=DEADLINE, check=True, text=True)
    return done.stdout


def test_a_file(site):
    """A file of the root is served, also through a link that stays within it."""
    assert get(site, "/hello.txt") == (200, b"hello\n")
    assert get(site, "/within.txt") == (200, b"inner\n")


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_agrees(site):
    """A real client is satisfied: contents, headers alone, no way out."""
    assert curl(site, "/hello.txt") == "hello\n"
    head = curl(site, "-I", "/hello.txt")
    assert head.startswith("HTTP/1")
    assert "200" in head.splitlines()[0]
    assert "content-length: 6" in head.lower()
    for path in ("/../secret.txt", "/up/secret.txt", "/link.txt"):
        assert curl(site, "-o", "/dev/null", "-w", "%{http_code}", path) in {"403", "404"}


def test_head_has_no_body(site):
    """HEAD answers as GET does, without the contents."""
    assert get(site, "/hello.txt", "HEAD") == (200, b"")


def test_what_is_not_there(site):
    """404 for an unknown path, and the worker goes on."""
    assert get(site, "/none.txt")[0] == 404
    assert get(site, "/hello.txt")[0] == 200


ESCAPES = [
    "/../secret.txt",
    "/folder/../../secret.txt",
    "/%2e%2e/secret.txt",
    "/..%2fsecret.txt",
    "/%2e%2e%2fsecret.txt",
    "//../secret.txt",
    "/../root-twin/secret.txt",
    "/..%2froot-twin%2fsecret.txt",
    "/link.txt",
    "/up/secret.txt",
    "/up/",
    "/up",
    "/trap/",
    "/trap/index.html",
]


@pytest.mark.parametrize("path", ESCAPES)
def test_there_is_no_way_out_of_the_root(site, path):
    """Neither dots, plain or escaped, nor a link lead to what lies beside the root, or list it."""
    status, body = get(site, path)
    assert status in {400, 403, 404}
    assert b"secret" not in body.replace(path.encode(), b"")


def test_a_name_with_a_nul(site):
    """It names no file: an answer, and no traceback."""
    for path in ("/hello.txt%00.html", "/%00", "/folder/%00"):
        assert get(site, path)[0] in (400, 404)
    assert get(site, "/hello.txt") == (200, b"hello\n")
    assert "Traceback" not in site.log


def test_only_regular_files_are_shown(site, tmp_path):
    """A FIFO has nobody who writes, and must not keep a child; nor a socket, nor a device."""
    root = tmp_path / "root"
    os.mkfifo(root / "fifo")
    os.mkfifo(root / "trap" / "index.htm")
    (root / "null").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(root / "socket"))
    for path in ("/fifo", "/socket", "/null", "/trap/index.htm"):
        assert get(site, path)[0] == 404
    assert site.stats()["totals"]["active"] == 0


@pytest.mark.parametrize("method", ["POST", "DELETE", "BREW"])
def test_other_methods_are_refused(site, method):
    """Static files are read only; the worker goes on."""
    assert get(site, "/hello.txt", method)[0] in {400, 405, 501}
    assert get(site, "/hello.txt")[0] == 200


def test_requests_are_counted(site):
    """Each request shows in the statistics; a 404 is no error of the server."""
    get(site, "/hello.txt")
    get(site, "/none.txt")
    totals = site.stats()["totals"]
    assert totals["requests"] == 2
    assert totals["active"] == 0
