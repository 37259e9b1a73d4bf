"""Applications, and a handler of connections, that answer with the address of their client."""

HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    names = ("REMOTE_ADDR", "REMOTE_PORT", "wsgi.url_scheme", "SCRIPT_NAME")
    return [" ".join(environ[name] for name in names).strip().encode()]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    host, port = scope["client"] or ("", 0)
    body = f"{host} {port} {scope['scheme']} {scope['root_path']}".strip().encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def tcp(connection, address):
    """Speak enough HTTP for a client of HTTP."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    host, port = address[:2]
    connection.sendall(HEAD + f"{host} {port} http".encode())
