"""The judge of the conformance tests: what a case allows."""

import pytest

from tests.support.conformance import NEXT_SEEN, Answer, Case, cases

SERVED = Answer(200, "GET / ")
NEXT = Answer(200, NEXT_SEEN)
REFUSED = Answer(400)

GOOD = Case(name="good", data=b"", sees=("GET / ",), then="next")
LAST = Case(name="last", data=b"", sees=("GET / ",), then="closed")
BAD = Case(name="bad", data=b"")
SECOND_BAD = Case(name="second bad", data=b"", sees=("GET / ",))
EITHER = Case(name="either", data=b"", sees=("GET / ",), then="next", may_refuse=True)


@pytest.mark.parametrize(
    ("case", "answers"),
    [
        (GOOD, [SERVED, NEXT]),
        (LAST, [SERVED]),
        (BAD, []),
        (BAD, [REFUSED]),
        (BAD, [Answer(501)]),
        (SECOND_BAD, [SERVED, REFUSED]),
        (SECOND_BAD, [SERVED]),
        (EITHER, [SERVED, NEXT]),
        (EITHER, [REFUSED]),
        (EITHER, []),
    ],
)
def test_what_is_allowed(case, answers):
    """A good request is served, a bad one refused or cut off, a doubtful one either."""
    assert case.allows(answers)


@pytest.mark.parametrize(
    ("case", "answers"),
    [
        (GOOD, []),
        (GOOD, [SERVED]),
        (GOOD, [NEXT]),
        (GOOD, [Answer(200, "GET /other "), NEXT]),
        (GOOD, [REFUSED]),
        (LAST, [SERVED, NEXT]),
        (LAST, [SERVED, REFUSED]),
        (BAD, [SERVED]),
        (BAD, [Answer(500)]),
        (BAD, [REFUSED, REFUSED]),
        (BAD, [REFUSED, NEXT]),
        (SECOND_BAD, [REFUSED, SERVED]),
        (SECOND_BAD, [SERVED, NEXT]),
        (EITHER, [SERVED]),
        (EITHER, [REFUSED, NEXT]),
    ],
)
def test_what_is_not_allowed(case, answers):
    """Nothing is served that should not be, nothing after a refusal, nothing refused twice."""
    assert not case.allows(answers)


def test_the_data():
    """Escapes become bytes, what is unknown of a published case is refused, names are unique."""
    known = {case.name: case for case in cases()}
    assert len(known) == len(cases())
    assert known["invalid/005"].data == b"GET /foo HTTP/1.1\r\nHost: x\r\nba\0z: bar\r\n\r\n"
    assert known["invalid/005"].then == "refused"
    assert known["valid/008"].sees == ("GET /unusual_content_length HELLO",)
    assert known["bare-lf"].data == b"GET / HTTP/1.1\nHost: x\n\n"
    assert {case.then for case in known.values()} == {"next", "closed", "refused"}
