"""Standard output and standard error as entries, where each line of the log has to be one object.

Only what Python writes through `sys.stdout` and `sys.stderr` passes here: C code and programs that
are started write to the descriptors, which nobody reads on the way.
"""

from __future__ import annotations

import io
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from typing import Any, Final

from supervisor.log.forms import Level

_LONGEST: Final = 65_536  # bytes of a line that does not end
_LEVELS: Final = {"stdout": Level.INFO, "stderr": Level.WARNING}

Tell = Callable[..., None]  # (level, logger, message, **facts)


class _Lines(io.RawIOBase):
    """Tells each line that is written; what is left of one at a flush. Threads do not mix."""

    def __init__(self, name: str, descriptor: int, tell: Tell) -> None:
        super().__init__()
        self._name = name
        self._descriptor = descriptor
        self._tell = tell
        self._rest = threading.local()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """For programs that are started with this as their output."""
        return self._descriptor

    def write(self, data: Any, /) -> int:
        *lines, rest = (getattr(self._rest, "data", b"") + bytes(data)).split(b"\n")
        if len(rest) > _LONGEST:
            lines, rest = [*lines, rest], b""
        self._rest.data = rest
        for line in lines:
            self._tell_line(line)
        return len(data)

    def flush(self) -> None:
        rest, self._rest.data = getattr(self._rest, "data", b""), b""
        self._tell_line(rest)

    def _tell_line(self, line: bytes) -> None:
        if line:
            text = line.decode("utf-8", "backslashreplace")
            self._tell(_LEVELS[self._name], self._name, text)


def wrap(tell: Tell) -> None:
    """Put entries in place of what this process, and the children that it forks, would print."""
    sys.stdout = _stream("stdout", 1, tell)
    sys.stderr = _stream("stderr", 2, tell)

    def show(
        message: Any, category: type[Warning], filename: str, lineno: int, *_: Any, **__: Any
    ) -> None:
        text = f"{category.__name__}: {message}"
        tell(Level.WARNING, "py.warnings", text, file=filename, line=lineno)

    def fail(arguments: threading.ExceptHookArgs) -> None:
        name = arguments.thread.name if arguments.thread else "?"
        told = traceback.format_exception(
            arguments.exc_type, arguments.exc_value, arguments.exc_traceback
        )
        tell(Level.ERROR, "threading", f"exception in thread {name}", traceback="".join(told))

    warnings.showwarning = show
    threading.excepthook = fail


def _stream(name: str, descriptor: int, tell: Tell) -> io.TextIOWrapper:
    lines: Any = _Lines(name, descriptor, tell)
    return io.TextIOWrapper(lines, "utf-8", "backslashreplace", write_through=True)
