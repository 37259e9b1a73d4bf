"""Sends SIGINT to the interpreter that loads this, as it begins to import the module INTERRUPT_AT.

Where this folder is on PYTHONPATH the module site loads it, before the first line of any program.
"""

import _signal  # the module signal would import others, which could not be interrupted then
import os
import sys


def interrupt(event: str, arguments: tuple[object, ...]) -> None:
    """Audit hook: the event precedes the import."""
    if event == "import" and arguments[0] == os.environ["INTERRUPT_AT"]:
        _signal.raise_signal(_signal.SIGINT)


sys.addaudithook(interrupt)
