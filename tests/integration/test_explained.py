"""Who died, of what, doing what: each way to fail, of each type, in the log and by `why`."""

import contextlib
import os
import re
import signal
from pathlib import Path

import pytest

from tests.support.clients import dial, rest
from tests.support.configs import job, table

KINDS = {
    "wsgi": {"type": "wsgi", "app": "deadly:wsgi"},
    "threads": {"type": "wsgi", "app": "deadly:wsgi", "threads": 2},
    "asgi": {"type": "asgi", "app": "deadly:asgi"},
    "tcp": {"type": "tcp", "handler": "deadly:tcp"},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def serving(serve, kind, **values):
    """A server of one child of this kind, which comes back after a crash."""
    values = {"listen": ["tcp://127.0.0.1:0"], "children": 1} | KINDS[kind] | values
    return serve(table("workers.web", **values), master={"restart": "on-crash"})


def answer(server, way, section="web"):
    """All that comes back of one request."""
    connection = dial(server, section)
    connection.sendall(f"GET /{way} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
    return rest(connection)


def why(server):
    """The output of `why`, which must not show frames of the supervisor itself."""
    told = server.command("why").stdout
    assert "life.py" not in told
    return told


@every_kind
@pytest.mark.parametrize(
    ("way", "cause", "function"),
    [
        ("segv", "SIGSEGV signal=SIGSEGV", "segv"),
        ("exit", '"exit 9" exit=9', ""),
        ("kill", "SIGKILL signal=SIGKILL", ""),
        ("c", "request_timeout signal=SIGALRM", "in_c"),
    ],
)
def test_a_death(serve, kind, way, cause, function):
    """The cause, the request that the child had in hand, the place in the application's code."""
    limit = 1.0 if "timeout" in cause else 0.0
    server = serving(serve, kind, request_timeout=limit)
    assert answer(server, way) == b""
    server.wait_for("server ready .*generation=2")
    (entry,) = re.findall(r"ERROR \S+ (child died .*(?:\n(?!\d{4}-).*)*)", server.log)
    for told in (entry, why(server)):
        assert f"cause={cause} " in told
        assert re.search(r"worker=web slot=0 pid=\d+ .* state=busy for=[\d.]+s", told)
        assert bool(re.search(rf'request="GET /{way} [\d.]+s', told)) == (kind != "tcp")
        assert not function or re.search(rf'deadly\.py", line \d+ in {function}\n', told)
    assert server.stop() == -signal.SIGTERM


@every_kind
@pytest.mark.parametrize(
    ("way", "last"),
    [("memory", "MemoryError"), ("raise", "ValueError: no such cart"), ("bye", "SystemExit")],
)
def test_an_error_of_one_request(serve, kind, way, last):
    """No memory, an exception, sys.exit: logged with its traceback, counted, and no death."""
    server = serving(serve, kind)
    assert answer(server, way).startswith(b"HTTP/1.1 500 " if kind != "tcp" else b"")
    server.wait_for(rf"ERROR web/0\[\d+\] request failed .*\n(  .*\n)+  {last}$")
    assert why(server) == "test: nothing went wrong so far\n"
    totals = server.stats()["totals"]
    assert (totals["requests"], totals["errors"]) == (1, 1)
    assert server.stop() == -signal.SIGTERM


@every_kind
def test_sys_exit_in_a_thread_of_the_application(serve, kind):
    """It ends that thread, as Python has it: neither an error nor a death."""
    server = serving(serve, kind)
    assert answer(server, "thread").endswith(b"alive")
    assert why(server) == "test: nothing went wrong so far\n"
    assert server.stats()["totals"]["errors"] == 0
    assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize("kind", ["wsgi", "threads", "tcp"])
def test_an_await_of_what_never_comes(serve, kind):
    """In a loop of the application's own it is a request like any: its child dies at the limit."""
    server = serving(serve, kind, request_timeout=1.0)
    assert answer(server, "never") == b""
    server.wait_for("server ready .*generation=2")
    told = why(server)
    assert "cause=request_timeout " in told
    first = re.search(r"[Tt]hread 0x.*:\n +File (.*)", told)[1]
    assert re.search(r'deadly\.py", line \d+ in <lambda>', first)
    assert server.stop() == -signal.SIGTERM


def test_a_task_that_awaits_what_never_comes(serve):
    """Only the request ends, with the stack of its coroutine; the child lives on."""
    server = serving(serve, "asgi", request_timeout=1.0)
    assert answer(server, "never").startswith(b"HTTP/1.1 504 ")
    server.wait_for(r"request cancelled method=GET path=/never reason=request_timeout\n(  .*\n)+")
    frames = re.findall(r'deadly\.py", line \d+, in (\w+)\n +(.*)', server.log)
    assert frames == [("asgi", "await never()"), ("never", "await asyncio.Event().wait()")]
    assert why(server) == "test: nothing went wrong so far\n"
    assert server.stop() == -signal.SIGTERM


def test_an_exception_in_run(serve):
    """Of a worker of the user's own: a death, with its traceback."""
    server = serve(job(run="fail", listen=["tcp://127.0.0.1:0"]), master={"restart": "on-crash"})
    dial(server, "job")
    server.wait_for("server ready .*generation=2")
    told = why(server)
    assert 'cause="exit 70" exit=70' in told
    assert re.search(r'acts\.py", line \d+, in fail\n.*raise RuntimeError', told)
    assert re.search(r"\(\d+ frames? of libraries\)\n  RuntimeError: told to fail\n", told)
    assert server.stop() == -signal.SIGTERM


MEMORY = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"  # version 1
UNIFIED = Path("/sys/fs/cgroup"), "memory.max"


@pytest.fixture
def limited():
    """The prefix of a command that may have 300 MiB, all its processes together."""
    mount, name = MEMORY if MEMORY[0].is_dir() else UNIFIED
    group = mount / f"supervisor-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / name).write_text(str(300 * 2**20))
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip(f"no cgroup of our own: {error}")
    yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"]
    group.rmdir()


@every_kind
def test_a_child_that_the_kernel_kills_for_memory(serve, limited, kind):
    """The entry and `why` say so: the cgroup's counter has proved it."""
    values = {"listen": ["tcp://127.0.0.1:0"], "children": 1} | KINDS[kind]
    section = table("workers.web", **values)
    server = serve(section, master={"restart": "on-crash"}, prefix=limited)
    assert answer(server, "greedy") == b""
    server.wait_for("server ready .*generation=2")
    for told in (server.log, why(server)):
        assert "cause=SIGKILL signal=SIGKILL" in told
        assert "killed by the kernel's OOM killer" in told
    assert server.stats()["last_crash"]["oom"] is True
    assert server.stop() == -signal.SIGTERM
    server.wait_gone()
