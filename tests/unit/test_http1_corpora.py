"""The HTTP/1.1 machine and the published requests: judged by the RFC, split anywhere, damaged."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.workers.web.http1 import Limits
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
