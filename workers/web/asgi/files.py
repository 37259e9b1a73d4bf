"""A file as the body of an answer: by sendfile(2), over TLS in pieces."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from supervisor.workers.web.asgi.call import Call
    from supervisor.workers.web.asgi.connection import Connection

_AT_ONCE: Final = 1 << 20  # bytes for one call: others want the loop too
_PIECE: Final = 1 << 18


async def send_file(
    call: Call, connection: Connection, head: bytes, file: Any, at: int, size: int | None
) -> int:
    """Send `head`, and after it `size` bytes of an open file from `at` on, None = to its end;
    returns how many that are. Raises OSError.
    """
    descriptor = file.fileno()
    if size is None:
        size = max(0, os.fstat(descriptor).st_size - at)
    frame = connection.machine.count(size)
    if frame is None or not size:
        connection.write(head)
        return 0
    await _send(call, connection, head + frame[0], 0)
    if connection.transport.get_extra_info("sslcontext") is None:
        await _send_by_kernel(call, connection, descriptor, at, size)
    else:
        await _send_in_pieces(call, connection, descriptor, at, size)
    if frame[1]:
        connection.write(frame[1])
    return size


async def _send(call: Call, connection: Connection, data: bytes, at_most: int) -> None:
    """Return when all but `at_most` bytes are with the kernel."""
    connection.limit_buffer(at_most)
    writable = connection.write(data)
    if writable is not None:
        await call.wait_to_send(writable)


async def _send_in_pieces(
    call: Call, connection: Connection, descriptor: int, at: int, size: int
) -> None:
    end = at + size
    while at < end:
        piece = os.pread(descriptor, min(end - at, _PIECE), at)
        if not piece:
            raise OSError("the file has become shorter")
        at += len(piece)
        await _send(call, connection, piece, _PIECE)


async def _send_by_kernel(
    call: Call, connection: Connection, descriptor: int, at: int, size: int
) -> None:
    # A descriptor of its own: the loop lets nobody else watch that of a transport.
    target, end = os.dup(connection.transport.get_extra_info("socket").fileno()), at + size
    try:
        while at < end:
            try:
                sent = os.sendfile(target, descriptor, at, min(end - at, _AT_ONCE))
            except BlockingIOError:
                await _until_writable(call, target)
                continue
            if not sent:
                raise OSError("the file has become shorter")
            at += sent
            await asyncio.sleep(0)
    finally:
        os.close(target)


async def _until_writable(call: Call, target: int) -> None:
    loop, writable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_writer(target, writable.set)
    try:
        await call.wait_to_send(writable)
    finally:
        loop.remove_writer(target)
