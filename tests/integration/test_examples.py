"""The configurations in conf/examples, started as they are but for ports and directories."""

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.support.clients import dial, endpoint, line
from tests.support.harness import DEADLINE, PROGRAMS, Server

ROOT = Path(__file__).parents[2]
NODE = pytest.mark.skipif(not shutil.which("node"), reason="needs node (Debian: nodejs)")

OPTIONS = (
    b"OPTIONS sip:me@127.0.0.1 SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 10.1.1.1:5060;branch=z9hG4bK1;rport\r\n"
    b"v: SIP/2.0/UDP far.example:5060;branch=z9hG4bK0\r\n"
    b"f: <sip:you@far.example>;tag=abc\r\n"
    b"To: <sip:me@127.0.0.1>\r\n"
    b"Call-ID: 1@far.example\r\n"
    b"CSeq: 7 %s\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


@pytest.fixture
def example(tmp_path, started):
    """Start an example from the top of the repository, with ports and paths of the test."""

    def start(name, *, extra=None, **replaced):
        text = (ROOT / "conf" / "examples" / f"{name}.toml").read_text()
        text = re.sub(r"(tcp|udp)://127\.0\.0\.1:\d+", r"\1://127.0.0.1:0", text)
        for old, new in replaced.values():
            assert old in text
            text = text.replace(old, new)
        config = tmp_path / f"{name}.toml"
        runtime = config.with_suffix(".run")
        config.write_text(text + f'\n[master]\nruntime_directory = "{runtime}"\n')
        started.append(server := Server(ROOT, config, extra=extra))
        server.wait_for("server ready ")
        return server

    return start


def get(server, section, path="/"):
    """Return what a section's web server answers."""
    host, port = endpoint(server.address(section))
    with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=DEADLINE) as response:
        return response.read()


def ask_sip(server, data):
    """Return the lines of the answer to a datagram, and the port it was sent from."""
    with dial(server, "sip") as client:
        client.send(data)
        return client.recv(4096).decode().split("\r\n"), client.getsockname()[1]


def test_sip_copies_what_a_response_must_have(example):
    """Via in order with where it came from, From, To with a tag, Call-ID, CSeq (RFC 3261)."""
    server = example("sip")
    lines, port = ask_sip(server, OPTIONS.replace(b"%s", b"OPTIONS"))
    tag = lines[4].rpartition("=")[2]
    assert lines[:7] == [
        "SIP/2.0 200 OK",
        f"Via: SIP/2.0/UDP 10.1.1.1:5060;branch=z9hG4bK1;rport={port};received=127.0.0.1",
        "Via: SIP/2.0/UDP far.example:5060;branch=z9hG4bK0",
        "From: <sip:you@far.example>;tag=abc",
        f"To: <sip:me@127.0.0.1>;tag={tag}",
        "Call-ID: 1@far.example",
        "CSeq: 7 OPTIONS",
    ]
    assert len(tag) == 8
    assert lines[-3:] == ["Content-Length: 0", "", ""]
    assert server.stop() == -signal.SIGTERM


def test_sip_answers_a_repeated_request_alike(example):
    """The tag of a retransmission is that of the first answer."""
    server = example("sip")
    with dial(server, "sip") as client:
        answers = []
        for _ in range(2):
            client.send(OPTIONS.replace(b"%s", b"OPTIONS"))
            answers.append(client.recv(4096))
    assert answers[0] == answers[1]
    assert server.stop() == -signal.SIGTERM


def test_sip_refuses_other_methods_and_is_silent_where_it_must_be(example):
    """No answer to ACK, to responses, to what is no SIP; 405 with Allow to another method."""
    server = example("sip")
    invite = OPTIONS.replace(b"OPTIONS", b"INVITE").replace(b"%s", b"INVITE")
    with dial(server, "sip") as client:
        for silent in (
            invite.replace(b"INVITE", b"ACK"),
            b"SIP/2.0 200 OK\r\n\r\n",
            b"\r\n\r\n",
            OPTIONS.replace(b"Call-ID", b"X-Call"),
        ):
            client.send(silent)
        client.send(invite)
        lines = client.recv(4096).decode().split("\r\n")
    assert lines[0] == "SIP/2.0 405 Method Not Allowed"
    assert "Allow: OPTIONS" in lines
    assert server.stop() == -signal.SIGTERM


@pytest.mark.skipif(not shutil.which("sipp"), reason="needs sipp (Debian: sip-tester)")
def test_sipp_loses_no_call(example, tmp_path):
    """10,000 OPTIONS of the real sipp, none sent twice: every one is answered with 200."""
    server = example("sip")
    host, port = endpoint(server.address("sip"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        own = probe.getsockname()[1]
    # At most 50 calls at a time, so that however slow we are no socket overflows.
    options = [
        "-m",
        "10000",
        "-r",
        "2000",
        "-l",
        "50",
        "-nr",
        "-nostdin",
        "-i",
        host,
        "-p",
        str(own),
    ]
    done = subprocess.run(
        ["sipp", "-sf", str(PROGRAMS / "options.xml"), *options, f"{host}:{port}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=4 * DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert re.search(r"Successful call .* 10000", done.stdout)
    assert server.stats()["totals"] | {"busy_seconds": 0} == {
        "requests": 10000,
        "errors": 0,
        "active": 0,
        "busy_seconds": 0,
    }
    assert server.stop() == -signal.SIGTERM


@NODE
def test_exec(example):
    """Two node processes answer on one inherited socket."""
    server = example("exec")
    assert int(get(server, "node").split()[1]) in server.children().values()
    assert server.stop() == -signal.SIGTERM


def test_task(example):
    """The report comes, after its jitter; the computation finishes; the server goes on."""
    server = example("task", jitter=("jitter = 5.0", "jitter = 0.1"))
    server.wait_for("report load=", "primes found=2262 last=19997", "child finished worker=primes")
    assert server.stop() == -signal.SIGTERM


def test_modules(example, tmp_path):
    """What one connection stores another one reads, after a restart as well."""
    store = (("/var/tmp/store", str(tmp_path / "store")),)
    for expected in ("none", "blue sky"):
        server = example("modules", path=store[0])
        with dial(server, "store") as one:
            one.sendall(b"get colour\n")
            assert line(one) == expected
            one.sendall(b"set colour blue sky\n")
            assert line(one) == "ok"
            with dial(server, "store") as other:
                other.sendall(b"get colour\nget shape\ndelete colour\nset colour blue sky\n")
                assert [line(other) for _ in range(4)] == ["blue sky", "none", "ok", "ok"]
        assert server.stop() == -signal.SIGTERM


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
def test_tls(example, tmp_path):
    """With a certificate made by the command in the file."""
    text = (ROOT / "conf" / "examples" / "tls.toml").read_text()
    command = " ".join(re.findall(r"^#   (.*?)\\?$", text, re.MULTILINE))
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True, timeout=DEADLINE)
    files = {name: (f'"{name}.pem"', f'"{tmp_path / name}.pem"') for name in ("certificate", "key")}
    server = example("tls", **files)
    context = ssl.create_default_context(cafile=tmp_path / "certificate.pem")
    with context.wrap_socket(dial(server, "echo"), server_hostname="localhost") as connection:
        connection.sendall(b"hello")
        assert connection.recv(100) == b"hello"
    assert server.stop() == -signal.SIGTERM


@NODE
@pytest.mark.parametrize("section", ["web", "node", "sip", "report"])
def test_any_child_takes_the_whole_group_down(example, section):
    """Four unlike sections serve; whoever is killed is named, and nothing of them is left."""
    server = example("everything")
    assert b"supervisor" in get(server, "web", "/supervisor.toml")
    assert get(server, "node").startswith(b"node ")
    assert ask_sip(server, OPTIONS.replace(b"%s", b"OPTIONS"))[0][0] == "SIP/2.0 200 OK"
    server.wait_for("report load=")
    children = server.stats()["children"]
    victim = next(child for child in children if child["worker"] == section)
    os.kill(victim["pid"], signal.SIGKILL)
    assert server.wait() == 70
    server.wait_for(f"ERROR .*child died worker={section} slot={victim['slot']} .*cause=SIGKILL")
    server.wait_gone()
    for child in children:
        assert not Path(f"/proc/{child['pid']}").exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(endpoint(server.address("web")), DEADLINE)
