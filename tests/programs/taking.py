"""Applications that change all they are given, and all they gave, and answer what it was."""

HEADERS = [("Content-Type", "text/plain")]


def wsgi(environ, start_response):
    seen = sorted((key, str(value)) for key, value in environ.items() if key[:5] != "wsgi.")
    environ.clear()
    start_response("200 OK", HEADERS)
    HEADERS[:] = [("Content-Type", "text/plain"), ("X-Before", str(len(HEADERS)))]
    return [repr(seen).encode()]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    seen = repr(sorted((key, str(value)) for key, value in scope.items()))
    scope["headers"].append((b"x-more", b"1"))
    for key in ("extensions", "asgi", "state"):
        scope[key] = {}
    scope["path"] = "/other"
    headers = [[name.encode(), value.encode()] for name, value in HEADERS]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": seen.encode()})
