"""Where a request comes from, as trusted proxies say."""

import pytest

from supervisor.workers.web.forwarded import Origin, Trust, joined, origin

TRUST = Trust(["10.0.0.0/8", "192.0.2.1"])
NEAR = "10.0.0.1"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], Origin(NEAR, 5, "http")),
        ([("x-forwarded-for", "1.2.3.4")], Origin("1.2.3.4", 0, "http")),
        ([("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.9.9.9")], Origin("1.2.3.4", 0, "http")),
        ([("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.2.3.4")],
         Origin("1.2.3.4", 0, "http")),
        ([("x-forwarded-for", "10.1.1.1")], Origin("10.1.1.1", 0, "http")),
        ([("x-forwarded-for", "nonsense")], Origin(NEAR, 5, "http")),
        ([("x-forwarded-for", "1.2.3.4, unknown, 10.2.2.2")], Origin("10.2.2.2", 0, "http")),
        ([("x-forwarded-for", "[2001:db8::7]:80")], Origin("2001:db8::7", 80, "http")),
        ([("x-forwarded-proto", "https")], Origin(NEAR, 5, "https")),
        ([("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.2.2.2"),
          ("x-forwarded-proto", "a, https, http")],
         Origin("1.2.3.4", 0, "https")),
        ([("x-forwarded-proto", "gopher")], Origin(NEAR, 5, "http")),
        ([("x-forwarded-host", "a.example:81"), ("x-forwarded-port", "443"),
          ("x-forwarded-prefix", "/shop/")],
         Origin(NEAR, 5, "http", "a.example:81", "443", "/shop")),
        ([("x-forwarded-host", "a b"), ("x-forwarded-port", "x"), ("x-forwarded-prefix", "shop")],
         Origin(NEAR, 5, "http")),
        ([("forwarded", 'for=1.2.3.4;proto=https;host="a:1"'), ("x-forwarded-for", "6.6.6.6")],
         Origin("1.2.3.4", 0, "https", "a:1")),
        ([("forwarded", 'for=6.6.6.6, For="[2001:db8::7]:80", for=10.2.2.2')],
         Origin("2001:db8::7", 80, "http")),
        ([("forwarded", "for=6.6.6.6, broken, for=10.2.2.2")], Origin("10.2.2.2", 0, "http")),
    ],
)  # fmt: skip
def test_origin(fields, expected):
    """The last trusted hop's word counts; what is no address or name is ignored."""
    named = joined([(name.encode(), value.encode()) for name, value in fields])
    assert origin(NEAR, 5, "http", named, TRUST) == expected


def test_who_is_not_trusted():
    """Headers of a client that is not trusted count for nothing; with * everybody is trusted."""
    named = {b"x-forwarded-for": b"1.2.3.4"}
    assert origin("6.6.6.6", 5, "http", named, TRUST) == Origin("6.6.6.6", 5, "http")
    assert origin("", 0, "http", named, TRUST) == Origin("", 0, "http")
    assert origin("", 0, "http", named, Trust(["*"])).client == "1.2.3.4"
    assert TRUST.trusts("::ffff:10.0.0.1")
    assert not Trust([])
