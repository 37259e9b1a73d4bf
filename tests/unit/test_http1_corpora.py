"""The HTTP/1.1 machine and the published requests: judged by the RFC, split anywhere, damaged."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.workers.web.http1 import Connection, Limits, known
from tests.support.conformance import NEXT, cases
from tests.support.http1 import answers, events

CASES = {case.name: case for case in cases()}
LIMITS = Limits(header=8192, body=100_000)


@pytest.mark.parametrize("case", CASES)
def test_as_the_specification_says(case):
    """Malformed requests are refused once, good ones are understood as meant."""
    got = answers(CASES[case].data + NEXT, Limits())
    assert CASES[case].allows(got), got


@pytest.mark.parametrize("case", CASES)
def test_byte_by_byte(case):
    """One byte at a time tells the same as all at once."""
    data = CASES[case].data + NEXT
    single = [data[at : at + 1] for at in range(len(data))]
    assert events(single, LIMITS) == events([data], LIMITS)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_split(data):
    """Any split of the same bytes gives the same events, also of damaged bytes."""
    sent = data.draw(damaged())
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=6)))
    pieces = [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    assert events(pieces, LIMITS) == events([sent], LIMITS)


@st.composite
def damaged(draw):
    """One or two requests of the corpora, with a few bytes changed, put in or left out."""
    names = draw(st.lists(st.sampled_from(sorted(CASES)), min_size=1, max_size=2))
    sent = bytearray(b"".join(CASES[name].data for name in names))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(sent)))
        sent[at : at + draw(st.integers(0, 3))] = draw(st.sampled_from(PIECES))
    return bytes(sent)


PIECES = [
    *(b"", b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b";", b"0", b"\r\n\r\n", b"\xff"),
    b"\r\nTransfer-Encoding: chunked\r\n",
    b"\r\nContent-Length: 3\r\n",
    b"\r\nConnection: upgrade\r\nUpgrade: x\r\n",
]


@given(damaged())
@settings(max_examples=300, deadline=None)
def test_damaged(sent):
    """Of any bytes the machine makes requests and refusals; it raises nothing."""
    assert all(
        answer.status in (200, *range(400, 500), 501, 505) for answer in answers(sent, LIMITS)
    )


GOOD = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: x\r\n\r\n",
    b"GET /a?b HTTP/1.1\r\nHost: x\r\nA: b\r\nA: c\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"POST /a HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
    b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /c HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: y\r\n\r\n",
    b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET /#a HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: x\r\nB: c\r\n d\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nb",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\n\r\n",
]


@given(st.lists(st.one_of(st.sampled_from(GOOD), st.deferred(lambda: crossed())), max_size=8))
@settings(max_examples=150, deadline=None)
def test_what_was_seen_before_changes_nothing(sent):
    """A head of which both halves were seen in others tells the same as to a machine that has seen
    nothing, and so does what follows it on the connection.
    """
    fresh = []
    for one in (*sent, b"".join(sent)):
        _forget()
        fresh.append(events([one], LIMITS))
    _forget()
    for _ in range(2):
        assert [events([one], LIMITS) for one in (*sent, b"".join(sent))] == fresh


def _forget():
    known.LINES.clear()
    known.BLOCKS.clear()


@st.composite
def crossed(draw):
    """The beginning of one request and the end of another, at any of the places that matter; or
    a damaged one.
    """
    pool = [*GOOD, *(CASES[name].data for name in sorted(CASES))]
    begin, end = (draw(st.sampled_from(pool)) for _ in range(2))
    cut = draw(st.sampled_from([b" HTTP/", b"\r\n", b" ", b"Host", b"\r\n\r\n"]))
    whole = begin.partition(cut)[0] + cut + end.partition(cut)[2]
    return draw(st.one_of(st.just(whole), damaged()))


def test_known_halves_are_bounded():
    """A client that invents heads fills no memory, and long ones are not kept."""
    _forget()
    for number in range(5000):
        events([b"GET /%d HTTP/1.1\r\nHost: h%d\r\n\r\n" % (number, number)], LIMITS)
    assert 0 < len(known.LINES) <= 256
    assert 0 < len(known.BLOCKS) <= 256
    _forget()
    events([b"GET / HTTP/1.1\r\nHost: x\r\nA: %b\r\n\r\n" % (b"a" * 4000)], LIMITS)
    assert not known.LINES
    assert not known.BLOCKS


def test_a_known_head_is_not_parsed_again():
    """Both halves are found, though they never came together."""
    _forget()
    events([b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"], LIMITS)
    events([b"HEAD /b HTTP/1.1\r\nHost: y\r\nA: b\r\n\r\n"], LIMITS)
    connection = Connection(LIMITS)
    request = connection.receive(b"GET /a HTTP/1.1\r\nHost: y\r\nA: b\r\n\r\n")
    assert (request.line.target, request.block.named[b"host"]) == (b"/a", b"y")


def test_another_limit_is_another_answer():
    """A known head is still too long for a connection that takes less."""
    head = b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n"
    assert events([head], LIMITS)[-1] == "IDLE"
    assert events([head], Limits(header=len(head) - 1))[0] == 431
