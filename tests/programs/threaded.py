"""Starts threads when it is imported, as some libraries do; its handler tells which live."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

NEVER = threading.Event()
POOL = ThreadPoolExecutor(1, thread_name_prefix="pool")
POOL.submit(NEVER.wait)
threading.Timer(1000, print).start()


def flush() -> None:
    NEVER.wait()


threading.Thread(target=flush, name="flusher", daemon=True).start()


def serve(connection: socket.socket, address: Any) -> None:
    names = [thread.name for thread in threading.enumerate()]
    connection.sendall(" ".join(names).encode())
