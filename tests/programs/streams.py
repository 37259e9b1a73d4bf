"""WSGI applications whose answers are long, or not allowed."""

import os
import tempfile
import time

BIG = bytes(10_000_000)


def tell(words):
    os.write(2, words + b"\n")


class Endless:
    """Parts without an end; it tells when it is closed."""

    def __init__(self, part, pause):
        self.part, self.pause = part, pause

    def __iter__(self):
        return self

    def __next__(self):
        time.sleep(self.pause)
        return self.part

    def close(self):
        tell(b"answer closed")


def wsgi(environ, start_response):
    return PAGES[environ["PATH_INFO"]](environ, start_response)


def ok(start_response, *headers):
    start_response("200 OK", [("Content-Type", "text/plain"), *headers])


def hello(_, start_response):
    ok(start_response)
    return [b"hello"]


def endless(_, start_response):
    ok(start_response)
    tell(b"answer begun")
    return Endless(bytes(65536), 0)


def events(_, start_response):
    ok(start_response)
    tell(b"answer begun")
    return Endless(b"data: x\n\n", 0.05)


def body(environ, start_response):
    data = environ["wsgi.input"].read()
    ok(start_response)
    return [b"%d %s" % (len(data), environ["CONTENT_LENGTH"].encode())]


def file(environ, start_response):
    ok(start_response)
    file = tempfile.TemporaryFile()  # noqa: SIM115
    file.write(b"0123456789" * 1_000_000)
    file.seek(5)
    return environ["wsgi.file_wrapper"](file)


def big(_, start_response):
    ok(start_response)
    return [BIG]


def parts(_, start_response):
    """50 MB, a part at a time."""
    ok(start_response)
    return (bytes(1_000_000) for _ in range(50))


def upload(environ, start_response):
    """Read the body a part at a time."""
    size = sum(len(data) for data in iter(lambda: environ["wsgi.input"].read(65_536), b""))
    ok(start_response)
    return [b"%d" % size]


def too_long(_, start_response):
    ok(start_response, ("Content-Length", "2"))
    return [b"hello"]


def too_short(_, start_response):
    ok(start_response, ("Content-Length", "9"))
    return iter([b"hello"])


def injected(_, start_response):
    ok(start_response, ("X-A", "b\r\nX-C: d"))
    return [b"hello"]


def slow(_, start_response):
    time.sleep(0.5)
    ok(start_response)
    return [b"slow"]


def written(_, start_response):
    write = start_response("200 OK", [])
    write(b"one ")
    return [b"two"]


def who(environ, start_response):
    names = ("REMOTE_ADDR", "wsgi.url_scheme", "HTTP_HOST", "SERVER_PORT", "SCRIPT_NAME")
    ok(start_response)
    return [" ".join(environ[name] for name in names).encode()]


def fields(environ, start_response):
    ok(start_response)
    found = {name: value for name, value in environ.items() if name.startswith("HTTP_")}
    return [repr(sorted(found.items())).encode()]


def hints(environ, start_response):
    """Hint, and answer when the file that the query names has been read to its end."""
    hint = environ["wsgi.early_hints"]
    hint([("Link", "</a.css>; rel=preload"), (b"X-A", b"b")])
    hint([("Link", "</b.js>; rel=preload")])
    with open(environ["QUERY_STRING"], "rb") as file:
        data = file.read()
    ok(start_response)
    yield data
    hint([("Link", "</late>")])


def wrong_hint(environ, _):
    environ["wsgi.early_hints"]([("Link", "a\r\nX-B: c")])


PAGES = {
    "/": hello,
    "/endless": endless,
    "/events": events,
    "/body": body,
    "/file": file,
    "/big": big,
    "/parts": parts,
    "/upload": upload,
    "/too-long": too_long,
    "/too-short": too_short,
    "/injected": injected,
    "/slow": slow,
    "/written": written,
    "/who": who,
    "/fields": fields,
    "/hints": hints,
    "/wrong-hint": wrong_hint,
}
