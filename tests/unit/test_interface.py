"""An application's interface is told by looking at the object."""

import pytest

from supervisor.errors import NameProblem
from supervisor.workers.web.interface import interface_of, refuse_another
from tests.programs import interfaces

FORMS = {
    "wsgi": "wsgi", "wsgi_object": "wsgi", "WsgiClass": "wsgi", "with_default": "wsgi",
    "asgi": "asgi", "asgi_object": "asgi", "returns_awaitable": "asgi", "partial": "asgi",
    "any_coroutine": "asgi", "rsgi": "rsgi", "rsgi_object": "rsgi", "asgi2": "asgi2",
    "Asgi2Class": "asgi2", "anything": None,
}  # fmt: skip


@pytest.mark.parametrize(("name", "interface"), FORMS.items())
def test_each_form(name, interface):
    """Functions, objects, classes and partials of all interfaces; `*args` do not tell."""
    assert interface_of(getattr(interfaces, name)) == interface


def test_frameworks():
    """Flask and Django's handler are wsgi, FastAPI and Django's other handler asgi."""
    from django.core.handlers.asgi import ASGIHandler
    from django.core.handlers.wsgi import WSGIHandler
    from fastapi import FastAPI
    from flask import Flask

    assert interface_of(Flask("f")) == interface_of(WSGIHandler.__new__(WSGIHandler)) == "wsgi"
    assert interface_of(FastAPI()) == interface_of(ASGIHandler.__new__(ASGIHandler)) == "asgi"


@pytest.mark.parametrize("wanted", ["wsgi", "asgi", "rsgi"])
def test_what_does_not_tell_is_not_refused(wanted):
    """Only what is surely of another interface is refused."""
    refuse_another(interfaces.anything, "x", wanted)


def test_asgi_2_is_refused_with_what_to_do():
    """It is refused in a section of any type."""
    with pytest.raises(NameProblem, match=r"'x' is an ASGI 2 application; wrap it: asgiref"):
        refuse_another(interfaces.asgi2, "x", "asgi")
