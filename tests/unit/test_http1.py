"""The HTTP/1.1 machine: what it refuses, what it makes of a body, how it frames an answer."""

import itertools

import pytest

from supervisor.workers.web.http1 import (
    END,
    Connection,
    InvalidAnswer,
    Limits,
    Reading,
    Refusal,
    date_line,
    head_of,
)

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def all_events(data, limits=None):
    connection = Connection(limits or Limits())
    first = connection.receive(data)
    return connection, [] if first is None else [first, *iter(connection.receive, None)]


def head(*lines, first=b"GET / HTTP/1.1"):
    return b"\r\n".join([first, *lines, b"", b""])


def target(text, method=b"GET", host=b"Host: x"):
    return head(host, first=method + b" " + text + b" HTTP/1.1")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (head(), 400),  # no Host
        (head(b"Host:"), 400),
        (head(b"Host: x", b"host: x"), 400),
        (head(b"Host: a b"), 400),
        (head(b"Host: u@x"), 400),
        (head(b"Host: h/p?q"), 400),
        (head(b"Host: x:y"), 400),
        (head(b"Host: [::1"), 400),
        (head(b"Host: u@x", first=b"GET / HTTP/1.0"), 400),
        (target(b"a"), 400),
        (target(b"*"), 400),
        (target(b"/#f"), 400),
        (target(b"http://y/"), 400),
        (target(b"http://x:81/"), 400),
        (target(b"http://u@x/"), 400),
        (target(b"ftp://x/"), 400),
        (target(b"x:1", method=b"CONNECT"), 501),
        (target(b"/", method=b"get"), 501),
        (target(b"/", method=b"FOO"), 501),
        (target(b"/", method=b"G(T"), 400),
        (target(b"/", method=b"ANNOUNCE"), 501),
        (head(b"Host: x", first=b"GET /"), 400),
        (b"GET /\r\n", 400),
        (head(b"Host: x", first=b"GET / HTTP/0.9"), 400),
        (head(b"Host: x", first=b"GET / HTTP/1.2"), 505),
        (head(b"Host: x", first=b"GET / HTTP/2.0"), 505),
        (head(b"Host: x", first=b"PRI * HTTP/2.0"), 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (head(b"Host: x", first=b"GET / RTSP/1.0"), 400),
        (head(b"Host: x", first=b"GET  / HTTP/1.1"), 400),
        (head(b"Host: x", b"A: b\rc"), 400),
        (head(b"Host: x", b"A: b\nc: d"), 400),
        (head(b"Host: x", b"A: b", b" c"), 400),
        (head(b"Host: x", b"A : b"), 400),
        (head(b"Host: x", b"Content-Length: +1"), 400),
        (head(b"Host: x", b"Content-Length: 1", b"Content-Length: 1"), 400),
        (head(b"Host: x", b"Content-Length: 1", b"Transfer-Encoding: chunked"), 400),
        (head(b"Host: x", b"Transfer-Encoding: gzip, chunked"), 501),
        (head(b"Host: x", b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"), 501),
        (head(b"Host: x", b"Transfer-Encoding: identity"), 501),
        (head(b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.0"), 400),
        (head(b"Host: x", *[b"a: b"] * 100), 431),
        (head(b"Host: x", b"a: " + b"b" * 8192), 431),
        (target(b"/" + b"a" * 8192), 414),
        (head(b"Host: x", b"Content-Length: 11"), 413),
    ],
)
def test_refused_head(data, status):
    """A head that breaks RFC 9110 or 9112, or a limit, is refused with the status that says so."""
    _, events = all_events(data, Limits(header=8192, body=10))
    assert [type(event) for event in events] == [Refusal]
    assert events[0].status == status, events


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        (head(b"Host: [::1]:80"), b"/"),
        (head(first=b"GET / HTTP/1.0"), b"/"),
        (target(b"/a?b=%20#c"[:-2]), b"/a?b=%20"),
        (target(b"HTTP://X:80/a?b"), b"/a?b"),
        (target(b"http://x?b"), b"/?b"),
        (target(b"http://x"), b"/"),
        (target(b"http://x", method=b"OPTIONS"), b"*"),
        (target(b"*", method=b"OPTIONS"), b"*"),
        (b"\r\n\r\n" + target(b"/"), b"/"),
        (head(b"Host: x", *[b"a: b"] * 99), b"/"),
    ],
)
def test_target(data, seen):
    """The application sees the target in origin form."""
    _, (request,) = all_events(data)
    assert (request.target, request.complete) == (seen, True)


def test_fields():
    """Names are in lower case, values without the space around them, trailers nowhere."""
    data = CHUNKED[:-2] + b"X-A:  b \t\r\n\r\n3\r\nabc\r\n0\r\nX-T: t\r\n\r\n"
    connection, (request, body, end) = all_events(data)
    assert request.fields[-1] == (b"x-a", b"b")
    assert b"x-t" not in request.named
    assert (body, end, connection.state) == (b"abc", END, Reading.DONE)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        (b'3\r\nabc\r\n02;a="b\\""\r\nde\r\n0\r\n\r\n', [b"abcde", END]),
        (b"3 ; a = b ;c\r\nabc\r\n0\r\n\r\n", [b"abc", END]),
        (b"3 \r\nabc\r\n0\r\n\r\n", [400]),
        (b"3;\r\nabc\r\n0\r\n\r\n", [400]),
        (b'3;a="\x01"\r\nabc\r\n0\r\n\r\n', [400]),
        (b"3;" + b"a" * 4096 + b"\r\nabc\r\n0\r\n\r\n", [400]),
        (b"3;" + b"a" * 4096, [400]),
        (b"1;" + b"a" * 4000 + b"\r\na\r\n0\r\n\r\n", [b"a", END]),
        ((b"1;" + b"a" * 4000 + b"\r\na\r\n") * 17, [b"a" * 16, 400]),
        (b"3\r\nabcd\r\n0\r\n\r\n", [b"abc", 400]),
        (b"3\r\nabc\r\n0\r\na b: c\r\n\r\n", [b"abc", 400]),
        (b"3\r\nabc\r\n0\r\n" + b"a: b\r\n" * 1400, [b"abc", 431]),
        (b"3\r\nabc\r\nfe\r\n", [b"abc", 413]),
        (b"0\r\n\r\n", [END]),
    ],
)
def test_chunks(chunks, expected):
    """A body in chunks, its extensions and trailers bounded."""
    _, (_, *events) = all_events(CHUNKED + chunks, Limits(header=8192, body=256))
    assert [getattr(event, "status", event) for event in events] == expected


def test_pipelined():
    """The next request is looked at after the answer to the one before; no byte is lost."""
    connection, (first,) = all_events(target(b"/1") + target(b"/2")[:5])
    assert (first.target, connection.waiting) == (b"/1", 5)
    connection.answer(head_of(200, []), length=0)
    connection.end()
    assert connection.renew()
    assert connection.receive() is None
    assert connection.state is Reading.HEAD
    assert connection.receive(target(b"/2")[5:]).target == b"/2"


def test_upgrade():
    """An upgrade hands over what follows the head; one that is not taken is a usual request, also
    with a body.
    """
    upgrade = head(b"Host: x", b"Connection: Upgrade", b"Upgrade: WebSocket")
    connection, (request,) = all_events(upgrade + b"frames")
    assert request.upgrade == b"websocket"
    assert connection.hand_over() == b"frames"
    assert connection.receive(b"more") is None

    body = upgrade[:-2] + b"Content-Length: 3\r\n\r\nabc" + target(b"/next")
    connection, (request, *rest) = all_events(body)
    assert (request.upgrade, rest) == (b"", [b"abc", END])
    connection.answer(head_of(204, []))
    connection.end()
    assert connection.renew()
    assert connection.receive().target == b"/next"

    connection, (request,) = all_events(upgrade + target(b"/next"))
    connection.answer(head_of(204, []))
    connection.end()
    assert connection.renew()
    assert connection.receive().target == b"/next"


def answered(data=HEAD + b"\r\n", status=200, fields=(), reason=None, body=(), **more):
    """The bytes of an answer, and whether the connection is kept."""
    connection, _ = all_events(data)
    sent = [connection.answer(head_of(status, fields, reason), **more), *map(connection.body, body)]
    sent.append(connection.end())
    return b"".join(sent), connection.renew()


DATE = date_line(0)
OLD = b"GET / HTTP/1.0\r\n\r\n"
OLD_KEPT = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "more", "text", "keeps"),
    [
        (head(b"Host: x"), {"body": [b"ab", b"", b"c"]},
         b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
         b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", True),
        (head(b"Host: x"), {"body": [b"abc"], "length": 3},
         b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", True),
        (head(b"Host: x"), {"body": [b"abc"], "fields": [(b"content-length", b"3")]},
         b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", True),
        (OLD, {"body": [b"abc"]}, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc", False),
        (OLD_KEPT, {"body": [b"abc"]},
         b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc", False),
        (OLD_KEPT, {"body": [b"abc"], "length": 3},
         b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc", True),
        (head(b"Host: x"), {"body": [b"abc"], "status": 204, "length": 3},
         b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (head(b"Host: x"), {"status": 304, "fields": [(b"content-length", b"3")]},
         b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", True),
        (target(b"/", method=b"HEAD"), {"body": [b"abc"]}, b"HTTP/1.1 200 OK\r\n\r\n", True),
        (head(b"Host: x", b"Connection: close"), {"length": 0},
         b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", False),
        (head(b"Host: x"), {"length": 0, "fields": [(b"Connection", b"Close")]},
         b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", False),
        (head(b"Host: x"), {"length": 0, "status": 299, "reason": b"Fine"},
         b"HTTP/1.1 299 Fine\r\nContent-Length: 0\r\n\r\n", True),
        (head(b"Host: x"), {"length": 0, "fields": [(b"transfer-encoding", b"x")]},
         b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (head(b"Host: x"), {"length": 0, "date": date_line(0)},
         b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
         b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n", True),
        (head(b"Host: x"), {"length": 0, "date": date_line(0), "fields": [(b"date", b"d")]},
         b"HTTP/1.1 200 OK\r\ndate: d\r\nContent-Length: 0\r\n\r\n", True),
    ],
)  # fmt: skip
def test_framing(data, more, text, keeps):
    """Each answer has the framing that its client knows, and ends the connection if it must."""
    assert answered(data, **more) == (text, keeps)


@pytest.mark.parametrize(
    "more",
    [
        {"fields": [(b"a", b"b\r\nc: d")]},
        {"fields": [(b"a", b"b\nc")]},
        {"fields": [(b"a", b"b\rc")]},
        {"fields": [(b"a", b"b\0")]},
        {"fields": [(b"a b", b"c")]},
        {"fields": [(b"", b"c")]},
        {"fields": [(b"content-length", b"-1")]},
        {"fields": [(b"content-length", b"1"), (b"Content-Length", b"2")]},
        {"status": 99},
        {"status": 100},
        {"status": 1000},
        {"reason": b"a\r\nb"},
        {"length": 3, "body": [b"abcd"]},
        {"length": 3, "body": [b"ab", b"cd"]},
        {"length": 3, "body": [b"ab"]},
    ],
)
def test_invalid_answer(more):
    """An answer that would break the protocol is the application's error."""
    with pytest.raises(InvalidAnswer):
        answered(**more)


def test_withdrawn():
    """Where the head was not sent, another answer takes the place of an invalid one."""
    connection, _ = all_events(HEAD + b"\r\n")
    connection.answer(head_of(200, [(b"content-length", b"1")]))
    with pytest.raises(InvalidAnswer):
        connection.body(b"ab")
    connection.withdraw()
    assert connection.refuse(500).endswith(b"\r\n\r\n500 Internal Server Error\n")
    assert not connection.renew()
    assert connection.refuse(500) == b""


def test_go_on():
    """100 is said once, when somebody reads, to who waits for it, and not to HTTP/1.0."""
    expecting = b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    connection, _ = all_events(HEAD + expecting)
    assert connection.go_on() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert connection.go_on() == b""
    connection, _ = all_events(b"GET / HTTP/1.0\r\n" + expecting)
    assert connection.go_on() == b""
    connection, _ = all_events(HEAD + expecting)
    assert b"Connection: close" in connection.answer(head_of(403, []), length=0)


def test_count():
    """Bytes that the caller sends itself are counted, or framed, or not to be sent."""
    connection, _ = all_events(HEAD + b"\r\n")
    connection.answer(head_of(200, []), length=10)
    assert connection.count(10) == (b"", b"")
    with pytest.raises(InvalidAnswer):
        connection.count(1)
    connection, _ = all_events(HEAD + b"\r\n")
    connection.answer(head_of(200, []))
    assert connection.count(10) == (b"a\r\n", b"\r\n")
    connection, _ = all_events(target(b"/", method=b"HEAD"))
    connection.answer(head_of(200, []), length=10)
    assert connection.count(10) is None


def test_interim():
    """Early hints go before the answer, and not to HTTP/1.0."""
    hint = [(b"link", b"</a.css>")]
    connection, _ = all_events(HEAD + b"\r\n")
    assert connection.interim(103, hint) == b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n"
    connection, _ = all_events(OLD)
    assert connection.interim(103, hint) == b""


def test_last():
    """A server that stops says so in its next answer."""
    connection, _ = all_events(HEAD + b"\r\n")
    connection.last = True
    assert b"\r\nConnection: close\r\n" in connection.answer(head_of(200, []), length=0)


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("status", [200, 204, 304, 404])
@pytest.mark.parametrize(
    "fields", [[], [(b"content-length", b"5")], [(b"connection", b"close"), (b"date", b"now")]]
)
def test_a_whole_answer_is_the_one_made_in_steps(method, version, status, fields):
    """`whole` gives the bytes of `answer`, `body` and `end`, and the same end of the connection."""
    whole, steps = Connection(Limits()), Connection(Limits())
    for connection in (whole, steps):
        connection.receive(method + b" / HTTP/" + version + b"\r\nHost: x\r\n\r\n")
    expected = steps.answer(head_of(status, fields), date=b"Date: then", length=5)
    expected += steps.body(b"hello") + steps.end()
    assert whole.whole(head_of(status, fields), b"hello", b"Date: then") == expected
    assert (whole.keeps, whole.renew()) == (steps.keeps, steps.renew())


@pytest.mark.parametrize("length", [b"4", b"6", b"x"])
def test_a_whole_answer_that_is_not_allowed(length):
    """It is forgotten, and another one may be made."""
    connection = Connection(Limits())
    connection.receive(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    with pytest.raises(InvalidAnswer):
        connection.whole(head_of(200, [(b"content-length", length)]), b"hello", b"")
    assert connection.whole(head_of(200, []), b"hello", b"").endswith(b"hello")


@pytest.mark.parametrize("fields", [[], [(b"content-length", b"5")], [(b"date", b"now")]])
def test_a_head_serves_for_many_answers(fields):
    """However it was used before, it gives what a new one gives."""
    used = head_of(200, fields)
    requests = [HEAD + b"\r\n", target(b"/", method=b"HEAD"), OLD, OLD_KEPT] * 2
    for data, length in itertools.product(requests, (None, 5)):
        (one, _), (other, _) = all_events(data), all_events(data)
        assert one.answer(used, DATE, length) == other.answer(head_of(200, fields), DATE, length)
        assert one.keeps is other.keeps
        assert one.body(b"hello") + one.end() == other.body(b"hello") + other.end()


def test_a_field_more():
    """It is added to a copy, and checked."""
    head = head_of(200, [])
    assert head.plus(b"X-Id", b"1").text == b"HTTP/1.1 200 OK\r\nX-Id: 1\r\n"
    assert head.text == b"HTTP/1.1 200 OK\r\n"
    with pytest.raises(InvalidAnswer):
        head.plus(b"X-Id", b"1\r\n")
