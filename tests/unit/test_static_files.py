"""Static files: preconditions, ranges, codings, ways out of the root (RFC 9110, 12 to 14)."""

import os
import socket
from email.utils import formatdate

import pytest

from supervisor.workers.web.static_files import Files

TEXT = b"0123456789"
LONG_AGO = 1_700_000_000


@pytest.fixture
def root(tmp_path):
    """A directory with files of each kind, beside a secret."""
    (tmp_path / "secret").write_bytes(b"secret")
    site = tmp_path / "site"
    (site / "docs").mkdir(parents=True)
    (site / "empty").mkdir()
    (site / "docs/index.html").write_bytes(b"<p>docs</p>")
    (site / "ten.txt").write_bytes(TEXT)
    (site / "app.js").write_bytes(b"plain")
    (site / "app.js.br").write_bytes(b"br")
    (site / "app.js.gz").write_bytes(b"gz")
    (site / "alone.css.gz").write_bytes(b"gz")
    (site / "out").symlink_to(tmp_path / "secret")
    (site / "in").symlink_to(site / "ten.txt")
    os.mkfifo(site / "fifo")
    os.utime(site / "ten.txt", (LONG_AGO, LONG_AGO))
    return site


def ask(root, path, method="GET", **fields):
    """Return the status, the fields and the body of an answer."""
    named = {name.replace("_", "-").encode(): value.encode() for name, value in fields.items()}
    answer = Files(str(root)).answer(method, path.encode(), named)
    body = b""
    if answer.descriptor >= 0:
        body = os.pread(answer.descriptor, answer.length, answer.at)
        os.close(answer.descriptor)
    return answer.status, dict(answer.fields), body


def test_a_file(root):
    """It has its type, its date and a strong tag."""
    status, fields, body = ask(root, "/ten.txt")
    assert (status, body) == (200, TEXT)
    assert fields[b"Content-Type"] == b"text/plain; charset=utf-8"
    assert fields[b"Last-Modified"] == formatdate(LONG_AGO, usegmt=True).encode()
    assert fields[b"ETag"].startswith(b'"')
    assert fields[b"Accept-Ranges"] == b"bytes"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/docs/", 200),
        ("/in", 200),
        ("/ten%2etxt", 200),
        ("/docs", 301),
        ("/empty", 404),
        ("/empty/", 404),
        ("/none", 404),
        ("/out", 404),
        ("/fifo", 404),
        ("/../secret", 404),
        ("/%2e%2e/secret", 404),
        ("/docs/..%2f..%2fsecret", 404),
        ("/./ten.txt", 404),
        ("//ten.txt", 404),
        ("/ten.txt%00.html", 404),
        ("/ten.txt/", 404),
        ("/" + "a" * 5000, 404),
    ],
)
def test_the_way_to_a_file(root, path, status):
    """Nothing outside the root is shown, and nothing that is no regular file."""
    assert ask(root, path)[0] == status


def test_a_directory_leads_to_its_own_slash(root):
    """Never to another server, as `//host/` would (CVE-2023-28370 is such a redirect)."""
    assert ask(root, "/docs")[1][b"Location"] == b"/docs/"
    assert ask(root, "//docs")[0] == 404


def test_a_socket_is_not_shown(root):
    """Only regular files are."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
        assert ask(root, "/socket")[0] == 404


def test_other_methods(root):
    """They are refused, with those that are not."""
    status, fields, _ = ask(root, "/ten.txt", "POST")
    assert (status, fields[b"Allow"]) == (405, b"GET, HEAD")


@pytest.mark.parametrize(
    ("span", "status", "body"),
    [
        ("bytes=0-3", 206, b"0123"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=-99", 206, TEXT),
        ("bytes=8-99", 206, b"89"),
        ("BYTES=0-0", 206, b"0"),
        ("bytes=10-", 416, b""),
        ("bytes=-0", 416, b""),
        ("bytes=3-1", 200, TEXT),
        ("bytes=0-1,3-4", 200, TEXT),
        ("bytes=" + "0-1," * 5000 + "0-1", 200, TEXT),
        ("bytes=" + "9" * 50 + "-", 200, TEXT),
        ("bytes=a-b", 200, TEXT),
        ("bytes=\u0661-\u0662", 200, TEXT),
        ("bytes=-", 200, TEXT),
        ("lines=0-1", 200, TEXT),
    ],
)
def test_ranges(root, span, status, body):
    """One range is obeyed; what is several, or none, is answered with all (RFC 9110, 14.2)."""
    found, fields, sent = ask(root, "/ten.txt", range=span)
    assert (found, sent) == (status, body)
    assert (b"Content-Range" in fields) == (status != 200)


def test_a_range_of_what_has_changed(root):
    """If-Range names the tag or the date that the client has a part of (RFC 9110, 13.1.5)."""
    tag = ask(root, "/ten.txt")[1][b"ETag"].decode()
    date = formatdate(LONG_AGO, usegmt=True)
    assert ask(root, "/ten.txt", range="bytes=0-1", if_range=tag)[0] == 206
    assert ask(root, "/ten.txt", range="bytes=0-1", if_range=date)[0] == 206
    assert ask(root, "/ten.txt", range="bytes=0-1", if_range='"other"')[0] == 200
    assert ask(root, "/ten.txt", range="bytes=0-1", if_range=f"W/{tag}")[0] == 200


def test_preconditions(root):
    """In the order of RFC 9110, 13.2.2: a tag counts, a date only where no tag is named."""
    tag = ask(root, "/ten.txt")[1][b"ETag"].decode()
    then, before = formatdate(LONG_AGO, usegmt=True), formatdate(LONG_AGO - 9, usegmt=True)
    asked = [
        ({"if_none_match": tag}, 304),
        ({"if_none_match": f'"a", W/{tag}'}, 304),
        ({"if_none_match": "*"}, 304),
        ({"if_none_match": '"a"'}, 200),
        ({"if_none_match": '"a"', "if_modified_since": then}, 200),
        ({"if_modified_since": then}, 304),
        ({"if_modified_since": before}, 200),
        ({"if_modified_since": "yesterday"}, 200),
        ({"if_match": tag}, 200),
        ({"if_match": f"W/{tag}"}, 412),
        ({"if_match": '"a"'}, 412),
        ({"if_unmodified_since": before}, 412),
        ({"if_unmodified_since": then}, 200),
    ]
    found = [ask(root, "/ten.txt", **fields)[0] for fields, _ in asked]
    assert found == [status for _, status in asked]


@pytest.mark.parametrize(
    ("accepted", "coding", "body"),
    [
        ("gzip, br", b"br", b"br"),
        ("gzip", b"gzip", b"gz"),
        ("br;q=0, gzip;q=0.5", b"gzip", b"gz"),
        ("br;q=0.0", None, b"plain"),
        ("identity", None, b"plain"),
        ("", None, b"plain"),
    ],
)
def test_a_coded_file_beside_it(root, accepted, coding, body):
    """The client says what it takes; each coding has a tag of its own."""
    status, fields, sent = ask(root, "/app.js", accept_encoding=accepted)
    assert (status, sent, fields.get(b"Content-Encoding")) == (200, body, coding)
    assert fields[b"Content-Type"].endswith(b"/javascript; charset=utf-8")
    assert fields[b"Vary"] == b"Accept-Encoding"


def test_tags_differ_by_coding(root):
    """A cache that has one must not take the other for it."""
    tags = {ask(root, "/app.js", accept_encoding=one)[1][b"ETag"] for one in ("br", "gzip", "")}
    assert len(tags) == 3


def test_a_coded_file_alone_is_not_the_plain_one(root):
    """`alone.css.gz` is a file of that name, and `alone.css` is missing."""
    assert ask(root, "/alone.css", accept_encoding="gzip")[0] == 404
    assert ask(root, "/alone.css.gz")[1][b"Content-Type"] == b"application/gzip"
