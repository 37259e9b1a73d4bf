"""Clients of the echo service, one connection after another, until told to end: `asking.py PORT`.

Says `answered` once, at the first answer; then a line for each connection that failed; at the end
of its input `asked N failed M`.
"""

import select
import socket
import sys

port = int(sys.argv[1])
asked = failed = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(b"hello")
            connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: connection.recv(64), b""))
            if answer != b"hello":
                raise ConnectionError(f"half an answer: {answer!r}")
    except OSError as error:
        failed += 1
        print(f"failed: {error!r}", file=sys.stderr, flush=True)
    asked += 1
    if asked == 1:
        print("answered", file=sys.stderr, flush=True)
print(f"asked {asked} failed {failed}", file=sys.stderr, flush=True)
