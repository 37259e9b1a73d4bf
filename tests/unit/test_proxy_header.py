"""The header of the PROXY protocol, by its bytes alone, and taken from a socket."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.errors import NameProblem
from supervisor.workers.web.forwarded import Trust
from supervisor.workers.web.proxy_header import Header, InvalidHeader, Proxies, proxies, read

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = bytes([192, 0, 2, 7, 10, 0, 0, 1]) + struct.pack("!HH", 4711, 443)
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::7") + bytes(16) + struct.pack("!HH", 4711, 443)
UNIX = b"/run/a".ljust(108, b"\0") + b"/run/b".ljust(108, b"\0")
TLVS = b"\x04\x00\x03abc" + b"\x20\x00\x05\x01\x00\x00\x00\x00"


def v2(command, family, block):
    """Return a header of version 2."""
    return SIGNATURE + struct.pack("!BBH", command, family, len(block)) + block


TAKEN_V1 = {
    b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n": ("192.0.2.7", 4711),
    b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n": ("255.255.255.255", 65535),
    b"PROXY TCP4 192.0.2.7 10.0.0.1 0 0\r\n": ("192.0.2.7", 0),
    b"PROXY TCP6 2001:db8::7 ::1 4711 443\r\n": ("2001:db8::7", 4711),
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n": None,
    b"PROXY UNKNOWN whatever \xff\r\n": None,
    b"PROXY UNKNOWN ".ljust(105, b"x") + b"\r\n": None,
}
TAKEN_V2 = {
    v2(0x21, 0x11, V4): ("192.0.2.7", 4711),
    v2(0x21, 0x11, V4 + TLVS): ("192.0.2.7", 4711),
    v2(0x21, 0x21, V6): ("2001:db8::7", 4711),
    v2(0x21, 0x21, V6 + bytes(4000)): ("2001:db8::7", 4711),
    v2(0x21, 0x31, UNIX): ("", 0),
    v2(0x21, 0x00, b""): None,
    v2(0x21, 0x12, V4): None,
    v2(0x21, 0x00, TLVS): None,
    v2(0x20, 0x00, b""): None,
    v2(0x20, 0x11, V4): None,
    v2(0x20, 0x11, b"abc"): None,
}
TAKEN = [("v1", *one) for one in TAKEN_V1.items()] + [("v2", *one) for one in TAKEN_V2.items()]
REFUSED = [
    ("v1", b"GET / HTTP/1.1\r\n\r\n"),
    ("v1", b"PROXY TCP4\r\n"),
    ("v1", b"proxy UNKNOWN\r\n"),
    ("v1", b"PROXY  TCP4 192.0.2.7 10.0.0.1 4711 443\r\n"),
    ("v1", b"PROXY TCP5 192.0.2.7 10.0.0.1 4711 443\r\n"),
    ("v1", b"PROXY TCP4 2001:db8::7 ::1 4711 443\r\n"),
    ("v1", b"PROXY TCP6 192.0.2.7 10.0.0.1 4711 443\r\n"),
    ("v1", b"PROXY TCP6 fe80::1%eth0 ::1 4711 443\r\n"),
    ("v1", b"PROXY TCP4 192.0.2.07 10.0.0.1 4711 443\r\n"),
    ("v1", b"PROXY TCP4 192.0.2.7 localhost 4711 443\r\n"),
    ("v1", b"PROXY TCP4 192.0.2.7 10.0.0.1 04711 443\r\n"),
    ("v1", b"PROXY TCP4 192.0.2.7 10.0.0.1 +711 443\r\n"),
    ("v1", b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 65536\r\n"),
    ("v1", b"PROXY TCP4 192.0.2.7 10.0.0.1 4711\r\n"),
    ("v1", b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443 5\r\n"),
    ("v1", b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\n" + b"x" * 80),
    ("v1", b"PROXY UNKNOWN ".ljust(106, b"x") + b"\r\n"),
    ("v1", v2(0x21, 0x11, V4)),
    ("v2", b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n"),
    ("v2", b"GET / HTTP/1.1\r\n\r\n"),
    ("v2", v2(0x11, 0x11, V4)),
    ("v2", v2(0x22, 0x11, V4)),
    ("v2", v2(0x21, 0x41, V4)),
    ("v2", v2(0x21, 0x13, V4)),
    ("v2", v2(0x21, 0x11, V4[:-1])),
    ("v2", v2(0x21, 0x31, UNIX[:-1])),
    ("v2", v2(0x21, 0x11, V4 + bytes(4096))),
]


@pytest.mark.parametrize(("version", "data", "source"), TAKEN)
def test_a_header_is_taken_and_nothing_behind_it(version, data, source):
    """Its size is its own, whatever follows; a part of it is not enough."""
    assert read(data, version) == Header(len(data), source)
    assert read(data + data, version) == Header(len(data), source)
    assert all(read(data[:size], version) is None for size in range(len(data)))


@pytest.mark.parametrize(("version", "data"), REFUSED)
def test_what_is_no_header_is_refused(version, data):
    """Every rule of the specification that a sender may break."""
    with pytest.raises(InvalidHeader):
        read(data, version)


@given(st.binary(max_size=200), st.sampled_from(["v1", "v2"]))
def test_any_bytes_are_taken_or_refused(data, version):
    """Nothing else is raised, and no header is longer than what came."""
    prefix = {"v1": b"PROXY TCP4 ", "v2": SIGNATURE}[version]
    for bytes_ in (data, prefix + data):
        try:
            header = read(bytes_, version)
        except InvalidHeader:
            continue
        assert header is None or header.size <= len(bytes_)


@given(st.sampled_from(TAKEN), st.lists(st.integers(1, 60), max_size=5))
def test_a_socket_keeps_what_follows(case, sizes):
    """However the bytes are split, the header is taken, and the rest is left in the socket."""
    version, data, source = case
    introduction = Proxies(version, Trust(["*"])).introduction("")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        at = 0
        for size in sizes:
            part = data[at : at + size]
            if at + len(part) < len(data):
                theirs.sendall(part)
                assert not part or introduction.receive(ours) is None
                with pytest.raises(BlockingIOError):
                    introduction.receive(ours)
                at += len(part)
        theirs.sendall(data[at:] + b"\x16\x03 the rest")
        header = introduction.receive(ours)
        assert header == Header(len(data), source)
        assert ours.recv(100) == b"\x16\x03 the rest"


def test_only_trusted_proxies_are_listened_to():
    """The header of another peer is not even read."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(next(iter(TAKEN_V1)))
        with pytest.raises(InvalidHeader, match="not a trusted proxy"):
            Proxies("v1", Trust(["10.0.0.0/8"])).introduction("192.0.2.1").receive(ours)


def test_the_end_before_the_header():
    """It is refused as any connection without one."""
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        with pytest.raises(InvalidHeader, match="ended before"):
            Proxies("v1", Trust(["*"])).introduction("").receive(ours)


@pytest.mark.parametrize(("trusted", "http"), [((), "1"), (["*"], "2")])
def test_what_could_not_work_is_a_problem_of_the_configuration(trusted, http):
    """Without trusted proxies nobody could connect; granian knows nothing of the header."""
    with pytest.raises(NameProblem) as caught:
        proxies("v1", trusted, http)
    assert caught.value.key == "proxy_protocol"
    assert proxies("off", ()) is None
