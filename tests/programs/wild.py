"""A handler that writes over all shared memory, as a pointer gone wild in C code may."""

import ctypes
import os
import re
import socket
from pathlib import Path
from typing import Any


def serve(connection: socket.socket, address: Any) -> None:
    """Take one line, `BYTE` (hexadecimal) or `BYTE die`; answer when the damage is done."""
    byte, _, last = connection.makefile().readline().strip().partition(" ")
    if byte:
        scribble(int(byte, 16))
    connection.sendall(b"done\n")
    if last:
        os.kill(os.getpid(), 11)


def scribble(byte: int) -> None:
    """Write it over every byte of the mapped files."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        found = re.match(r"(\w+)-(\w+) .*/(?:\.?scoreboard|metrics\.\d+$)", line)
        if found:
            start, end = (int(one, 16) for one in found.groups())
            ctypes.memset(start, byte, end - start)
