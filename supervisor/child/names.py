"""From a dotted name to the object behind it, with an error that says whose fault it is."""

from __future__ import annotations

import importlib.util
import traceback
from pathlib import Path
from typing import Any, Final

from supervisor.config.decode import unknown
from supervisor.errors import NameProblem, StartError, Stop, SystemFailure, is_shortage

_HERE: Final = str(Path(__file__).parents[1])


def load_object(name: str, key: str = "") -> Any:
    """Import `package.module:attribute`. `key` is the option that holds the name.

    Raises NameProblem when it leads nowhere, StartError when the module's own code raised,
    SystemFailure when the system ran out of something meanwhile.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise NameProblem(f"{name!r}: expected package.module:name", key)
    found = import_module(module_name, key)
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = unknown(part, dir(found), "name")
            raise NameProblem(f"{name!r}: {near} in {module_name!r}", key)
        found = getattr(found, part)
    return found


def import_module(name: str, key: str = "") -> Any:
    """Import a module by dotted name; raises as `load_object` does."""
    try:
        return importlib.import_module(name)
    except (Stop, KeyboardInterrupt, MemoryError):
        raise
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise NameProblem(f"no module named {error.name!r}", key) from None
        raise StartError(f"{name!r} cannot be imported: {describe(error)}") from error
    except (ValueError, TypeError) as error:
        if not name or name.startswith("."):
            raise NameProblem(f"{name!r} is not a module name", key) from None
        raise StartError(f"{name!r} cannot be imported: {describe(error)}") from error
    except BaseException as error:
        kind = SystemFailure if is_shortage(error) else StartError
        raise kind(f"{name!r} cannot be imported: {describe(error)}") from error


def describe(error: BaseException) -> str:
    """The last line of the exception's traceback, and the place: `ValueError: x (web.py line
    3)`.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg} ({error.filename} line {error.lineno})"
    lines = "".join(traceback.format_exception_only(error)).strip().splitlines()
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(("<frozen", _HERE))]
    return f"{lines[0]} ({own[-1].filename} line {own[-1].lineno})" if own else lines[0]
