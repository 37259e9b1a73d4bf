"""Which interface an application was written for, told by looking at the object alone."""

from __future__ import annotations

import functools
import inspect
from typing import Any, Final, Literal

from supervisor.errors import NameProblem

Interface = Literal["wsgi", "asgi", "asgi2", "rsgi"]

_REMEDY: Final = "wrap it: asgiref.compatibility.guarantee_single_callable(app) makes an ASGI 3 one"


def interface_of(application: Any) -> Interface | None:
    """The interface; None where the object does not tell, as with `*args`.

    An RSGI application has `__rsgi__`. Else the parameters tell: `(environ, start_response)`,
    `(scope, receive, send)`, ASGI 2's `(scope)` that returns another function, and RSGI's
    asynchronous `(scope, protocol)`.
    """
    if hasattr(application, "__rsgi__"):
        return "rsgi"
    count = _parameters(application)
    if count == 3:
        return "asgi"
    if count == 1:
        return "asgi2"
    if count == 2:
        return "rsgi" if _is_asynchronous(application) else "wsgi"
    return "asgi" if _is_asynchronous(application) else None


def refuse_another(application: Any, name: str, wanted: str) -> None:
    """Raise NameProblem where the application is surely none of type `wanted`."""
    found = interface_of(application)
    if found == "asgi2":
        raise NameProblem(f"{name!r} is an ASGI 2 application; {_REMEDY}", "app")
    if found is not None and found != wanted:
        raise NameProblem(
            f"{name!r} is of interface {found}, the section of type {wanted!r}: "
            f'write type = "{found}"',
            "app",
        )


def _parameters(application: Any) -> int | None:
    """How many positional arguments a call must have; None where any number will do."""
    try:
        parameters = inspect.signature(application).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [one for one in parameters if one.kind in positional and one.default is one.empty]
    return len(needed)


def _is_asynchronous(application: Any) -> bool:
    while isinstance(application, functools.partial):
        application = application.func
    if inspect.isclass(application):
        return False  # a call makes an instance
    return inspect.iscoroutinefunction(application) or inspect.iscoroutinefunction(
        getattr(application, "__call__", None)  # noqa: B004
    )
