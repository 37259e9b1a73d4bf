"""Sockets are bound or adopted by their address; a closed door lets nothing new in."""

import os
import socket
import stat
import struct

import pytest

from supervisor.config.address import Address, Listen, parse_address
from supervisor.errors import ConfigError, Exit, ListenError
from supervisor.system import listeners
from supervisor.system.adoption import adopt
from supervisor.system.listeners import clear_stale, open_listener
from tests.support.harness import DEADLINE

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))


def listen(text, **options):
    """Return a `listen` entry."""
    return Listen(parse_address(text), **options)


@pytest.fixture
def opened():
    """Open a listener; it is released at the end."""
    made = []

    def bind(entry, backlog=5):
        made.append(open_listener(entry, backlog))
        return made[-1]

    yield bind
    for listener in made:
        listener.release()


@pytest.mark.parametrize("text", ["tcp://127.0.0.1:0", "tcp://[::1]:0", "udp://127.0.0.1:0"])
def test_port_zero_becomes_the_actual_port(opened, text):
    """The listener tells the address that the kernel gave."""
    listener = opened(listen(text))
    assert listener.address.port == listener.socket.getsockname()[1] != 0
    assert str(listener.address).startswith(text[:-1])
    assert not listener.socket.getblocking()
    assert listener.is_stream == text.startswith("tcp")


def test_an_accepted_connection_is_blocking(opened, closing):
    """A handler gets an ordinary socket; where nobody waits there is None."""
    listener = opened(listen("tcp://127.0.0.1:0"))
    assert listener.accept() is None
    address = ("127.0.0.1", listener.address.port)
    client = closing.enter_context(socket.create_connection(address))
    listener.socket.settimeout(DEADLINE)  # the handshake may not be over yet
    connection, peer = listener.accept()
    closing.enter_context(connection)
    assert connection.getblocking()
    assert peer == client.getsockname()


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_an_address_in_use_is_told(opened, scheme):
    """The line names the address."""
    taken = opened(listen(f"{scheme}://127.0.0.1:0")).address
    with pytest.raises(ListenError, match=f"^{taken}: address already in use") as caught:
        open_listener(Listen(taken), 5)
    assert caught.value.exit_code is Exit.UNAVAILABLE


@pytest.mark.parametrize(
    "text",
    [
        "tcp://a..b:0",
        f"tcp://{64 * 'x'}:0",
        "tcp://192.0.2.1:0",
        "unix:///nonexistent/web.sock",
    ],
)
def test_an_address_that_cannot_be_bound_is_told(text):
    """A host that can be none, an address that is not ours, a directory that does not exist."""
    with pytest.raises(ListenError) as caught:
        open_listener(listen(text), 5)
    assert str(caught.value).startswith(f"{text}: ")


@pytest.mark.parametrize(("mode", "expected"), [("0660", 0o660), ("600", 0o600), ("0o777", 0o777)])
def test_a_unix_socket_has_its_mode(opened, tmp_path, mode, expected):
    """The mode is the one asked for, whatever the umask."""
    path = tmp_path / "web.sock"
    opened(listen(f"unix://{path}", mode=mode))
    assert stat.S_IMODE(path.stat().st_mode) == expected


@pytest.mark.parametrize("owner", ["no-such-name", ":no-such-name", "root:no-such-name"])
def test_an_owner_that_does_not_exist_is_told(tmp_path, owner):
    """The line names the entry and the owner, and no socket is left behind."""
    path = tmp_path / "web.sock"
    with pytest.raises(ConfigError, match=f"unix://{path}: owner '{owner}'"):
        open_listener(listen(f"unix://{path}", owner=owner), 5)
    assert not path.exists()


def test_a_unix_socket_goes_with_its_listener(opened, tmp_path):
    """Closing the door removes the path, and so does release; both may come again."""
    path = tmp_path / "web.sock"
    listener = opened(listen(f"unix://{path}"))
    assert stat.S_ISSOCK(path.stat().st_mode)
    listener.close_door()
    assert not path.exists()
    listener.close_door()


def test_the_next_servers_socket_is_left_alone(opened, tmp_path):
    """A path that another server has bound meanwhile is not ours to remove."""
    path = tmp_path / "web.sock"
    first = opened(listen(f"unix://{path}"))
    first.close_door()
    opened(listen(f"unix://{path}"))
    first.release()
    assert path.exists()


def test_a_dead_servers_socket_is_replaced(opened, tmp_path):
    """Nobody listens there any more: the path is free."""
    path = tmp_path / "web.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert opened(listen(f"unix://{path}")).address.path == str(path)


def test_a_living_servers_socket_is_refused(opened, tmp_path):
    """Somebody listens there: its path stays, also when its queue is full."""
    path = tmp_path / "web.sock"
    opened(listen(f"unix://{path}"), backlog=0)
    for _ in range(3):
        with pytest.raises(ListenError, match="already in use"):
            clear_stale(str(path))
    assert path.exists()


@pytest.mark.parametrize("make", ["touch", "mkdir"])
def test_what_is_no_socket_is_never_removed(tmp_path, make):
    """A file or a directory in the socket's place is an error."""
    path = tmp_path / "web.sock"
    getattr(path, make)()
    with pytest.raises(ListenError, match="not a socket"):
        open_listener(listen(f"unix://{path}"), 5)
    assert path.exists()


def inherit(*descriptors, name=""):
    """Return descriptors as systemd passes them."""
    return [(descriptor, name) for descriptor in descriptors]


def bound(family, kind, where):
    """Return a bound socket and, for streams, one that listens."""
    sock = socket.socket(family, kind)
    sock.bind(where)
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return sock


# Which sockets are closed is another test's business.
leaks = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

INTERNET = [
    (socket.AF_INET, socket.SOCK_STREAM, "tcp://127.0.0.1:{port}"),
    (socket.AF_INET, socket.SOCK_STREAM, "tcp://localhost:{port}"),
    (socket.AF_INET, socket.SOCK_DGRAM, "udp://127.0.0.1:{port}"),
    (socket.AF_INET6, socket.SOCK_STREAM, "tcp://[::1]:{port}"),
    (socket.AF_INET6, socket.SOCK_STREAM, "tcp://[0::1]:{port}"),
]


def loopback(family):
    """Return any port of the loopback address."""
    return ("::1" if family == socket.AF_INET6 else "127.0.0.1", 0)


@pytest.mark.parametrize(("family", "kind", "text"), INTERNET)
def test_an_inherited_socket_is_adopted_by_its_entry(family, kind, text):
    """The entry with the same family, type and address has the socket, however it spells it."""
    sock = bound(family, kind, loopback(family))
    entry = listen(text.format(port=sock.getsockname()[1]))
    other = listen("tcp://127.0.0.1:1")
    descriptor = sock.detach()
    adopted = adopt(inherit(descriptor), {"web": [other, entry]})
    assert list(adopted) == [("web", 1)]
    listener = adopted["web", 1]
    assert listener.inherited
    assert listener.fileno() == descriptor
    assert not os.get_inheritable(descriptor)
    listener.release()


@pytest.mark.parametrize("name", ["other", "other.socket"])
def test_a_socket_that_no_address_claims_goes_by_its_name(name):
    """To the first free entry with its scheme in the section of that name."""
    first = bound(socket.AF_INET, socket.SOCK_STREAM, loopback(socket.AF_INET))
    second = bound(socket.AF_INET, socket.SOCK_STREAM, loopback(socket.AF_INET))
    wanted = {
        "web": [listen("tcp://127.0.0.1:0")],
        "other": [listen(f"{scheme}://127.0.0.1:0") for scheme in ("udp", "tcp", "tcp")],
    }
    descriptors = [first.detach(), second.detach()]
    adopted = adopt(inherit(*descriptors, name=name), wanted)
    assert {place: one.fileno() for place, one in adopted.items()} == {
        ("other", 1): descriptors[0],
        ("other", 2): descriptors[1],
    }
    for listener in adopted.values():
        listener.release()


def test_an_inherited_unix_socket_outlives_us(tmp_path):
    """Its path is systemd's: neither the door nor release removes it."""
    path = tmp_path / "web.sock"
    sock = bound(socket.AF_UNIX, socket.SOCK_STREAM, str(path))
    entry = listen(f"unix://{path}")
    listener = adopt(inherit(sock.detach()), {"web": [entry]})["web", 0]
    listener.close_door()
    listener.release()
    assert path.exists()


@leaks
@pytest.mark.parametrize(
    ("family", "kind", "text"),
    [
        (socket.AF_INET, socket.SOCK_STREAM, "udp://127.0.0.1:{port}"),
        (socket.AF_INET, socket.SOCK_DGRAM, "tcp://127.0.0.1:{port}"),
        (socket.AF_INET, socket.SOCK_STREAM, "tcp://127.0.0.2:{port}"),
        (socket.AF_INET, socket.SOCK_STREAM, "tcp://0.0.0.0:{port}"),
        (socket.AF_INET, socket.SOCK_STREAM, "tcp://[::1]:{port}"),
        (socket.AF_INET, socket.SOCK_STREAM, "tcp://127.0.0.1:0"),
        (socket.AF_INET, socket.SOCK_STREAM, "tcp://a..b:{port}"),
        (socket.AF_INET6, socket.SOCK_STREAM, "tcp://127.0.0.1:{port}"),
    ],
)
def test_a_socket_that_no_entry_claims_is_refused(family, kind, text):
    """The line names the socket's address."""
    sock = bound(family, kind, loopback(family))
    host, port = sock.getsockname()[:2]
    scheme = "tcp" if kind == socket.SOCK_STREAM else "udp"
    address = Address(scheme, host=host, port=port)
    with pytest.raises(ConfigError) as caught:
        adopt(inherit(sock.detach()), {"web": [listen(text.format(port=port))]})
    assert caught.value.problems == (f"inherited socket {address}: no listen entry claims it",)


@leaks
def test_an_inherited_descriptor_that_we_cannot_use_is_refused():
    """A pipe and a socket of another kind are named by number."""
    pipe, other = os.pipe()
    datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).detach()
    for descriptor in (pipe, datagrams):
        with pytest.raises(ConfigError, match=f"inherited descriptor {descriptor}: "):
            adopt(inherit(descriptor), {"web": [listen("tcp://127.0.0.1:1")]})
    os.close(pipe)
    os.close(other)


def test_a_socket_that_is_refused_is_closed():
    """Nobody else will close it."""
    descriptor = bound(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)).detach()
    with pytest.raises(ConfigError):
        adopt(inherit(descriptor), {})
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def verdict(program, flags):
    """Run a classic BPF program on a TCP header with these flags; return how much it accepts."""
    header = struct.pack("!HHIIBBHHH", 40_000, 80, 1, 0, 5 << 4, flags, 1024, 0, 0)
    code = list(struct.iter_unpack("HBBI", program))
    accumulator = counter = 0
    while True:
        operation, if_true, if_false, k = code[counter]
        counter += 1
        match operation:
            case 0x30:  # BPF_LD | BPF_B | BPF_ABS
                accumulator = header[k]
            case 0x54:  # BPF_ALU | BPF_AND | BPF_K
                accumulator &= k
            case 0x15:  # BPF_JMP | BPF_JEQ | BPF_K
                counter += if_true if accumulator == k else if_false
            case 0x06:  # BPF_RET | BPF_K
                return k


@pytest.mark.parametrize(
    ("flags", "taken"),
    [
        (SYN, False),
        (SYN | ECE | CWR, False),
        (SYN | PSH, False),
        (ACK, True),
        (SYN | ACK, True),
        (ACK | PSH, True),
        (FIN | ACK, True),
        (RST, True),
        (RST | ACK, True),
        (FIN | PSH | URG, True),
    ],
)
def test_the_closed_door_drops_new_connections_only(flags, taken):
    """A SYN without ACK is dropped, so that its kernel asks again; all else passes whole."""
    assert verdict(listeners._DROP_SYN, flags) == (0xFFFFFFFF if taken else 0)


def test_the_kernel_takes_the_filter(opened, closing):
    """After the door closed nothing new gets in, and who came before is still served."""
    listener = opened(listen("tcp://127.0.0.1:0"))
    address = ("127.0.0.1", listener.address.port)
    early = closing.enter_context(socket.create_connection(address))
    early.sendall(b"hello")
    listener.close_door()
    listener.close_door()
    late = closing.enter_context(socket.socket())
    late.setblocking(False)
    assert late.connect_ex(address) != 0
    listener.socket.settimeout(DEADLINE)
    connection = closing.enter_context(listener.accept()[0])
    assert connection.recv(5) == b"hello"
    connection.sendall(b"bye")
    assert early.recv(3) == b"bye"
    listener.socket.setblocking(False)
    assert listener.accept() is None
