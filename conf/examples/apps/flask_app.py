"""A Flask application: hello, a stream, an upload."""

from collections.abc import Iterator

from flask import Flask, Response, request

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    return "hello from flask\n"


@app.get("/stream")
def stream() -> Response:
    def parts() -> Iterator[str]:
        for number in range(3):
            yield f"part {number}\n"

    return Response(parts(), mimetype="text/plain")


@app.post("/upload")
def upload() -> str:
    size = 0
    while part := request.stream.read(65_536):
        size += len(part)
    return f"{size}\n"
