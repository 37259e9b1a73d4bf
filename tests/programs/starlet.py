"""The smallest ASGI application."""


async def app(scope, receive, send):
    """Greet."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello from asgi"})
