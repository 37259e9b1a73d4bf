"""The example applications, served by the real frameworks."""

import signal
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from supervisor.config.load import load
from tests.support.applications import get
from tests.support.clients import endpoint
from tests.support.configs import table
from tests.support.harness import DEADLINE

EXAMPLES = Path(__file__).parents[2] / "conf" / "examples"


@pytest.fixture
def example(serve):
    """Serve an example on any port."""

    def start(name):
        config, _ = load(EXAMPLES / f"{name}.toml")
        web = config.workers[0]
        values = {"type": web.common.type, "listen": ["tcp://127.0.0.1:0"], **web.options}
        master = {"working_directory": str(EXAMPLES.parents[1] / config.master.working_directory)}
        return serve(table("workers.web", children=2, **values), master=master)

    return start


@pytest.mark.parametrize("name", ["flask", "django", "fastapi", "starlette", "litestar"])
def test_an_example(example, name):
    """Hello, a stream and an upload of 20 MB come through, and the server stops in order."""
    pytest.importorskip(name)
    server = example(name)
    assert get(server) == (200, f"hello from {name}\n".encode())
    assert get(server, "/stream") == (200, b"part 0\npart 1\npart 2\n")
    body = bytes(20_000_000)
    headers = {"Content-Type": "application/octet-stream"}
    assert get(server, "/upload", "POST", body=body, headers=headers) == (200, b"20000000\n")
    totals = server.stats()["totals"]
    assert (totals["requests"], totals["errors"]) == (3, 0)
    assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize("name", ["fastapi", "starlette", "litestar"])
def test_a_websocket(example, name):
    """The example echoes what a WebSocket says, and a stop tells it of the restart."""
    pytest.importorskip(name)
    server = example(name)
    host, port = endpoint(server.address())
    with connect(f"ws://{host}:{port}/echo", close_timeout=DEADLINE) as websocket:
        websocket.send("one")
        assert websocket.recv(DEADLINE) == "one"
        server.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(DEADLINE)
    assert closed.value.rcvd.code == 1012
    assert server.wait() == -signal.SIGTERM
    assert "Traceback" not in server.log
