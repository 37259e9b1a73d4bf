"""What is served without a web server: it costs a process nothing but what it does.

It runs in the servers' own environments, so it knows nothing of the project.
"""

import os

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"


def tell(word: str) -> None:
    """Tell the benchmark where the application was loaded, and what it begins."""
    with open(os.environ["BENCH_FIFO"], "wb", buffering=0) as fifo:
        fifo.write(f"{word} {os.getpid()}\n".encode())


def tcp(connection, _address=None):
    connection.recv(65536)
    connection.sendall(ANSWER)


def echo(data, _address=None):
    return data


tell("loaded")
