"""TLS on stream types, and the keys of all types: certificates by openssl, the standard library is
the peer.
"""

import shutil
import signal
import ssl
import subprocess

import pytest

from tests.support.applications import ENGINES
from tests.support.certificates import certificate_for
from tests.support.clients import dial, line, rest
from tests.support.configs import table, web, write
from tests.support.harness import DEADLINE, SUPERVISOR

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Return the paths of a certificate for localhost, which is its own authority, and its key."""
    return certificate_for(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def encrypted(certificate, tmp_path_factory):
    """Return the paths of the certificate and of its key under a pass phrase."""
    path = tmp_path_factory.mktemp("encrypted") / "key.pem"
    command = ["openssl", "ec", "-in", certificate[1], "-out", path]
    options = {"check": True, "capture_output": True, "timeout": DEADLINE}
    subprocess.run([*command, "-aes256", "-passout", "pass:secret"], **options)
    return certificate[0], str(path)


def tls(paths, **values):
    """Return a `tls` table."""
    return {"certificate": paths[0], "key": paths[1]} | values


def client(certificate, own=False):
    """Return a client's context that trusts the certificate, and shows it where told to."""
    context = ssl.create_default_context(cafile=certificate[0])
    if own:
        context.load_cert_chain(*certificate)
    return context


def secured(server, context):
    """Return a connection to the server after the handshake."""
    return context.wrap_socket(dial(server), server_hostname="localhost")


def test_a_handler_talks_through_tls(serve, certificate):
    """It gets a connection as any other; the end is announced, so nothing can be cut off."""
    server = serve(web("supervisor.workers.echo:stream", tls=tls(certificate)))
    context = client(certificate)
    with dial(server) as plain:
        connection = context.wrap_socket(
            plain, server_hostname="localhost", suppress_ragged_eofs=False
        )
        data = b"x" * 300_000
        connection.sendall(data)
        received = b""
        while len(received) < len(data):
            received += connection.recv(65536)
        assert received == data
        connection.close()
    totals = server.stats()["totals"]
    assert totals["requests"] == 1
    assert server.stop() == -signal.SIGTERM


def test_the_end_is_announced(serve, certificate):
    """The server says close_notify: its answer cannot be cut off unseen."""
    server = serve(web("handlers:hello", tls=tls(certificate)))
    connection = client(certificate).wrap_socket(
        dial(server), server_hostname="localhost", suppress_ragged_eofs=False
    )
    assert rest(connection).startswith(b"hello ")
    assert server.stop() == -signal.SIGTERM


def test_files_are_served_over_tls(serve, certificate, tmp_path):
    """Type `http` takes the same table."""
    (tmp_path / "page").write_text("secret page")
    text = table(
        "workers.web",
        type="http",
        listen=["tcp://127.0.0.1:0"],
        root=str(tmp_path),
        tls=tls(certificate),
    )
    server = serve(text)
    connection = secured(server, client(certificate))
    head = b"GET /page HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    connection.sendall(head)
    assert rest(connection).endswith(b"secret page")
    assert server.stop() == -signal.SIGTERM


def test_minimum_refuses_older_versions(serve, certificate):
    """A client that knows TLS 1.2 only has no handshake with a server that wants 1.3."""
    server = serve(web(tls=tls(certificate, minimum="1.3")))
    context = client(certificate)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with dial(server) as plain, pytest.raises(ssl.SSLError, match=r"(?i)version"):
        context.wrap_socket(plain, server_hostname="localhost")
    with secured(server, client(certificate)) as connection:
        assert connection.version() == "TLSv1.3"
    assert server.stop() == -signal.SIGTERM


def test_client_ca_refuses_strangers(serve, certificate):
    """Who shows no certificate of it is an error in the log and never reaches the handler."""
    server = serve(web(tls=tls(certificate, client_ca=certificate[0], minimum="1.2")))
    context = client(certificate)
    context.maximum_version = (
        ssl.TLSVersion.TLSv1_2
    )  # where the client hears of it in the handshake
    with dial(server) as plain, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(plain, server_hostname="localhost")
    server.wait_for("request failed .*HandshakeError: TLS: PEER_DID_NOT_RETURN_A_CERTIFICATE")
    assert rest(secured(server, client(certificate, own=True))).startswith(b"hello ")
    assert server.stop() == -signal.SIGTERM


def test_plain_text_is_one_line_in_the_log(serve, certificate):
    """A client that does not speak TLS is its own fault: no traceback, and an error counted."""
    server = serve(web(tls=tls(certificate)))
    with dial(server) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        server.wait_for("request failed .*HandshakeError: TLS: HTTP_REQUEST")
    assert "Traceback" not in server.log
    assert server.stats()["totals"]["errors"] == 1
    assert server.stop() == -signal.SIGTERM


def test_a_slow_handshake_holds_one_child_and_not_for_long(serve, certificate):
    """While one client says nothing the other child serves; its handshake ends in time, though a
    byte comes now and then.
    """
    server = serve(web(tls=tls(certificate), connection_timeout=0.5))
    with dial(server) as slow:
        slow.sendall(b"\x16")
        assert rest(secured(server, client(certificate))).startswith(b"hello ")
        slow.sendall(b"\x03")
        server.wait_for("request failed .*TimeoutError: TLS handshake")
        assert slow.recv(10) == b""
    assert server.stop() == -signal.SIGTERM


def test_a_handler_is_drained(serve, certificate):
    """A secured request in hand when TERM comes is answered."""
    server = serve(web("handlers:gated", tls=tls(certificate)))
    connection = secured(server, client(certificate))
    assert line(connection).startswith("taken ")
    server.signal(signal.SIGTERM)
    server.wait_for("server stopping ")
    connection.sendall(b".")
    assert rest(connection) == b"done\n"
    assert server.wait() == -signal.SIGTERM


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_a_silent_handshake_does_not_delay_the_stop(serve, certificate, kind):
    """Who has not even greeted has no request that could be lost."""
    common = {"listen": ["tcp://127.0.0.1:0"], "connection_timeout": DEADLINE}
    text = table("workers.web", tls=tls(certificate), **(common | ENGINES[kind]))
    server = serve(text, master={"stop_timeout": DEADLINE})
    dial(server).sendall(b"\x16")
    secured(server, client(certificate)).close()  # so the first one is accepted too
    assert server.stop() == -signal.SIGTERM
    assert "child killed" not in server.log
    assert "child died" not in server.log


@pytest.mark.parametrize("key", ["certificate", "key", "client_ca"])
def test_a_file_that_is_missing_is_a_configuration_error(launch, certificate, key):
    """It is named by its key."""
    server = launch(web(tls=tls(certificate, **{key: "/no/such.pem"})))
    assert server.wait() == 78
    assert f"workers.web.tls.{key}: '/no/such.pem': No such file or directory" in server.log


def test_a_file_that_is_no_certificate_is_a_configuration_error(launch, certificate, tmp_path):
    """The reason is told, and no passphrase is asked for."""
    file = tmp_path / "nonsense.pem"
    file.write_text("nonsense")
    server = launch(web(tls=tls(certificate, certificate=str(file))))
    assert server.wait() == 78
    assert "workers.web.tls.key: " in server.log


# Each type that has a `tls` table, and each engine of it.
TYPES = {
    "tcp": {"type": "tcp", "handler": "handlers:hello"},
    "http": {"type": "http"},
    **ENGINES,
}


@pytest.mark.parametrize("command", ["start", "check"])
@pytest.mark.parametrize("kind", TYPES)
def test_a_key_with_a_pass_phrase_is_a_configuration_error(run, encrypted, tmp_path, kind, command):
    """It is one line that names the key; the terminal is not asked for the pass phrase."""
    listen = ["tcp://127.0.0.1:0"]
    text = table("workers.web", listen=listen, tls=tls(encrypted), **TYPES[kind])
    program = run([SUPERVISOR, command, "-c", write(tmp_path, text)], terminal=True)
    assert program.wait() == 78
    (problem,) = [one for one in program.log.splitlines() if "workers.web" in one]
    assert "workers.web.tls.key: " in problem
    assert "keys are read unattended" in problem
    assert "pass phrase:" not in program.log
