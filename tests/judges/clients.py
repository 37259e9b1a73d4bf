"""Real clients, one after the other: `python clients.py http://127.0.0.1:PORT`. Prints a line for
each case, `ok NAME` or `not ok NAME`. It runs in the judges' environment, and imports nothing of
ours.
"""

import asyncio
import contextlib
import hashlib
import http.client
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

import aiohttp
import httpx
import requests
import urllib3

BODY = bytes(range(256)) * 8192  # 2 MiB
SAID = f"{len(BODY)} {hashlib.sha256(BODY).hexdigest()}"
PARTS = b"x" * 1_000_000
TIMEOUT = 30.0


def pieces() -> Iterator[bytes]:
    """Yield the body in parts, so that its length is not known."""
    for at in range(0, len(BODY), 100_000):
        yield BODY[at : at + 100_000]


def with_requests(url: str) -> Iterator[tuple[str, bool]]:
    """requests, on urllib3."""
    with requests.Session() as session:
        kept = [session.get(f"{url}/", timeout=TIMEOUT).status_code for _ in range(20)]
        yield "keep-alive", kept == [200] * 20 and connections_of(session) == 1
        yield "upload", session.post(f"{url}/digest", BODY, timeout=TIMEOUT).text == SAID
        yield "chunked", session.post(f"{url}/digest", pieces(), timeout=TIMEOUT).text == SAID
        yield "download", session.get(f"{url}/parts", timeout=TIMEOUT).content == PARTS
        head = session.head(f"{url}/", timeout=TIMEOUT)
        yield "HEAD", head.status_code == 200 and not head.content


def connections_of(session: requests.Session) -> int:
    """How many connections its pool has made."""
    (pool,) = session.get_adapter("http://").poolmanager.pools._container.values()
    return pool.num_connections


def with_urllib3(url: str) -> Iterator[tuple[str, bool]]:
    """urllib3 alone: a connection that is reused after an answer that was not read to its end."""
    with urllib3.PoolManager(timeout=TIMEOUT) as pool:
        yield "upload", pool.request("POST", f"{url}/digest", body=BODY).data.decode() == SAID
        early = pool.request("GET", f"{url}/parts", preload_content=False)
        early.read(10)
        early.close()
        yield "leaves early", pool.request("GET", f"{url}/").status == 200
        streamed = pool.request("GET", f"{url}/parts", preload_content=False)
        yield "stream", b"".join(streamed.stream(5000)) == PARTS


def with_httpx(url: str) -> Iterator[tuple[str, bool]]:
    """httpx, on h11, which is strict."""
    with httpx.Client(timeout=TIMEOUT) as client:
        yield "keep-alive", all(client.get(f"{url}/").status_code == 200 for _ in range(20))
        yield "upload", client.post(f"{url}/digest", content=BODY).text == SAID
        yield "chunked", client.post(f"{url}/digest", content=pieces()).text == SAID
        with client.stream("GET", f"{url}/parts") as answer:
            yield "stream", b"".join(answer.iter_bytes()) == PARTS
        yield "HEAD", client.head(f"{url}/").status_code == 200


def with_aiohttp(url: str) -> Iterator[tuple[str, bool]]:
    """aiohttp: many at a time, and `Expect: 100-continue`."""
    yield from asyncio.run(together(url)).items()


async def together(url: str) -> dict[str, bool]:
    limit = aiohttp.ClientTimeout(TIMEOUT)
    async with aiohttp.ClientSession(timeout=limit) as session:

        async def post(**options: bool) -> bool:
            async with session.post(f"{url}/digest", data=BODY, **options) as answer:
                return await answer.text() == SAID

        async def get() -> bool:
            async with session.get(f"{url}/parts") as answer:
                return await answer.read() == PARTS

        return {
            "upload": await post(),
            "100-continue": await post(expect100=True),
            "twenty at a time": all(await asyncio.gather(*(get() for _ in range(20)))),
        }


def with_curl(url: str) -> Iterator[tuple[str, bool]]:
    """curl(1)."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(BODY)
        file.flush()
        data = f"@{file.name}"
        expect = ["-H", "Expect: 100-continue", "--expect100-timeout", str(TIMEOUT)]
        chunked = ["-H", "Transfer-Encoding: chunked"]
        yield "100-continue", curl(*expect, "--data-binary", data, f"{url}/digest") == SAID
        yield "chunked", curl(*chunked, "--data-binary", data, f"{url}/digest") == SAID
        yield "HTTP/1.0", curl("-0", "--data-binary", data, f"{url}/digest") == SAID
    two = curl("-w", "%{num_connects} ", "-o", "/dev/null", "-o", "/dev/null", *[f"{url}/"] * 2)
    yield "keep-alive", two == "1 0 "
    yield "parts by 1.0", curl("-0", f"{url}/parts") == PARTS.decode()


def curl(*arguments: str) -> str:
    command = ["curl", "-sS", "--fail", "-m", str(TIMEOUT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def by_hand(url: str) -> Iterator[tuple[str, bool]]:
    """(case, passed) of what no library does: pipelining, half a close, a body that breaks off."""
    place = url.removeprefix("http://")
    request = f"GET / HTTP/1.1\r\nHost: {place}\r\n\r\n".encode()
    last = f"GET / HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n".encode()
    yield "pipelining", sent(place, request * 50 + last).count(b"HTTP/1.1 200") == 51
    yield "half close", sent(place, last, half=True).startswith(b"HTTP/1.1 200")
    broken = f"POST /digest HTTP/1.1\r\nHost: {place}\r\nContent-Length: 9\r\n\r\nab".encode()
    yield "a body that breaks off", b" 200 " not in sent(place, broken, half=True)[:20]


def sent(place: str, data: bytes, *, half: bool = False) -> bytes:
    """Send this, and return all that comes until the end of the connection."""
    connection = http.client.HTTPConnection(place, timeout=TIMEOUT)
    connection.connect()
    with contextlib.closing(connection.sock) as peer:
        peer.sendall(data)
        if half:
            peer.shutdown(1)
        received = b""
        with contextlib.suppress(ConnectionError):
            while more := peer.recv(65536):
                received += more
        return received


SUITES: dict[str, Callable[[str], Iterator[tuple[str, bool]]]] = {
    "requests": with_requests,
    "urllib3": with_urllib3,
    "httpx": with_httpx,
    "aiohttp": with_aiohttp,
    "curl": with_curl,
    "by hand": by_hand,
}


def main() -> None:
    for client, suite in SUITES.items():
        try:
            for name, good in suite(sys.argv[1]):
                print("ok" if good else "not ok", f"{client}: {name}", flush=True)
        except Exception as error:  # whatever a library says, the suite ends here
            print("not ok", f"{client}: {error!r}", flush=True)


if __name__ == "__main__":
    main()
