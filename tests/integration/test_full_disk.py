"""A disk that is full while a body is kept on it costs that request, and says so."""

import http.client
import signal

import pytest

from tests.support.applications import get, section
from tests.support.clients import dial, endpoint, rest
from tests.support.harness import DEADLINE

pytestmark = pytest.mark.root


def small_disk(path):
    """Return the prefix of a command that finds a file system of 8 MB at `path`."""
    return ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size=8M none {path}; exec "$@"', "sh"]


@pytest.mark.parametrize("threads", [1, 4])
def test_a_body_that_does_not_fit(serve, tmp_path, threads):
    """507, and one line that says why; the disk is given back, and the next one fits."""
    disk = tmp_path / "disk"
    disk.mkdir()
    text = section("wsgi", app="streams:wsgi", children=1, body_buffer=1000, threads=threads)
    master = {"runtime_directory": str(disk / "run")}
    server = serve(text, master=master, prefix=small_disk(disk))
    for _ in range(3):
        host, port = endpoint(server.address())
        connection = http.client.HTTPConnection(host, port, timeout=DEADLINE)
        connection.request("POST", "/body", body=bytes(2_000_000))
        assert connection.getresponse().read() == b"2000000 2000000"
        connection.close()
        big = dial(server)
        big.sendall(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 16000000\r\n\r\n")
        for _ in range(16):
            big.sendall(bytes(1_000_000))
        assert rest(big).startswith(b"HTTP/1.1 507 ")
    assert get(server) == (200, b"hello")
    pattern = r"ERROR web/0\[.*request refused .*status=507 reason=.*: No space left on device"
    server.wait_for(pattern)
    assert server.log.count("No space left on device") == 3
    assert server.stop() == -signal.SIGTERM
    assert "Traceback" not in server.log
