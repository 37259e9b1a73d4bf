"""A handler that leaves a crowd behind."""

import os
import socket
import subprocess
from typing import Any

COUNT = 1000
# A subshell that ends at once leaves its background job behind, which waits for a pipe to end.
SCRIPT = f"exec 3<&0; i=0; while [ $i -lt {COUNT} ]; do (read x <&3 &); i=$((i + 1)); done"


def orphans(connection: socket.socket, address: Any) -> None:
    """Leave a thousand orphans that exit when all of them are there; answer when all have ended."""
    wait_here, go = os.pipe()
    ended, alive = os.pipe()
    subprocess.run(["sh", "-c", SCRIPT], stdin=wait_here, pass_fds=[alive], check=True)
    for descriptor in (go, wait_here, alive):
        os.close(descriptor)
    os.read(ended, 1)
    os.close(ended)
    connection.sendall(f"left {COUNT}\n".encode())
