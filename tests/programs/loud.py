"""A program that says things in every way there is, and meddles with the package logging."""

import ctypes
import logging
import logging.config
import os
import socket
import sys
import threading
import warnings
from typing import Any

from supervisor import current

DJANGO = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {},
    "formatters": {"plain": {"format": "django says %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "loggers": {"django": {"handlers": ["console"], "level": "INFO"}},
}
FILE = """
[loggers]
keys=root
[handlers]
keys=none
[formatters]
keys=
[logger_root]
level=CRITICAL
handlers=none
[handler_none]
class=logging.NullHandler
args=()
"""


def by_file() -> None:
    reader, writer = os.pipe()
    os.write(writer, FILE.encode())
    os.close(writer)
    with os.fdopen(reader) as file:
        logging.config.fileConfig(file)


def by_clearing() -> None:
    logging.getLogger().handlers.clear()


MEDDLING = {
    "dictConfig": lambda: logging.config.dictConfig({"version": 1}),
    "django": lambda: logging.config.dictConfig(DJANGO),
    "fileConfig": by_file,
    "basicConfig": lambda: logging.basicConfig(force=True, level="CRITICAL"),
    "clear": by_clearing,
    "disable": lambda: logging.disable(logging.CRITICAL),
    "shutdown": logging.shutdown,
}


def meddle(how: str) -> None:
    MEDDLING[how]()


def in_a_thread() -> None:
    def fail() -> None:
        raise LookupError("in a thread")

    thread = threading.Thread(target=fail, name="loud")
    thread.start()
    thread.join()


def log_all() -> None:
    logger = logging.getLogger("shop.cart")
    logger.info("sold", extra={"amount": 3, "by": float("nan"), "what": {("a", 1): object()}})
    try:
        raise ValueError("in hand")
    except ValueError:
        logger.exception("not sold")
    logging.getLogger("django.request").info("asked")
    current().log.warning("offered", extra={"amount": 4})


def forge() -> None:
    line = "2026-01-01T00:00:00.000Z ERROR master[1] child died worker=forged"
    raise ValueError(f"\x1b[2J\x9b2J\r{line}\n{line}\u2028{line}")


COMMANDS = {
    "hello": lambda: None,
    "print": lambda: print("printed\n\nand again"),
    "part": lambda: print("a part", end="", flush=True),
    "stderr": lambda: print("said", file=sys.stderr),
    "bytes": lambda: sys.stdout.buffer.write(b"caf\xe9\n"),
    "warn": lambda: warnings.warn("old", DeprecationWarning, stacklevel=1),
    "log": log_all,
    "thread": in_a_thread,
    "raise": lambda: [][0],
    "forge": forge,
    "uvicorn": lambda: logging.getLogger("uvicorn.error").info("heard"),
    "segv": lambda: ctypes.string_at(0),
    **{how: lambda how=how: meddle(how) for how in MEDDLING},
}


def serve(connection: socket.socket, address: Any) -> None:
    """Do what the line says; answer once it is done."""
    command = connection.makefile().readline().strip()
    COMMANDS[command]()
    connection.sendall(b"done\n")


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """Say so to the logger that people who come from uvicorn use."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    logging.getLogger("uvicorn.error").info("heard")
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


if meddling := os.environ.get("MEDDLING"):
    meddle(meddling)
