"""Applications of every form, for what tells their interfaces apart. Each answers with its name."""

import functools


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Length", "4")])
    return [b"wsgi"]


async def asgi(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"asgi"})


async def rsgi(scope, protocol):
    protocol.response_str(200, [], "rsgi")


class WsgiObject:
    def __call__(self, environ, start_response):
        return wsgi(environ, start_response)


class AsgiObject:
    async def __call__(self, scope, receive, send):
        await asgi(scope, receive, send)


class RsgiObject:
    async def __rsgi__(self, scope, protocol):
        await rsgi(scope, protocol)


class WsgiClass:
    def __init__(self, environ, start_response):
        self.answer = wsgi(environ, start_response)

    def __iter__(self):
        return iter(self.answer)


class Asgi2Class:
    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        await asgi(self.scope, receive, send)


def asgi2(scope):
    return functools.partial(asgi, scope)


def returns_awaitable(scope, receive, send):
    return asgi(scope, receive, send)


def anything(*arguments):
    return wsgi(*arguments)


async def any_coroutine(*arguments):
    await asgi(*arguments)


def with_default(environ, start_response, extra=None):
    return wsgi(environ, start_response)


def factory():
    return wsgi


def broken_factory():
    raise ValueError("no database")


number = 3
application = asgi
partial = functools.partial(asgi)
wsgi_object, asgi_object, rsgi_object = WsgiObject(), AsgiObject(), RsgiObject()
