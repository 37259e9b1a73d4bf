"""The application of the image, to be replaced by yours: ASGI, without any framework."""


async def app(scope, receive, send):
    """Answer every request with a line."""
    if scope["type"] != "http":
        raise ValueError(f"{scope['type']} is not known here")
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"22")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"served by a supervisor"})
