"""A Litestar application with a stream, an upload and a WebSocket that echoes."""

from collections.abc import AsyncIterator

from litestar import Litestar, MediaType, Request, WebSocket, get, post, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.response import Stream


@get("/", media_type=MediaType.TEXT)
async def hello() -> str:
    return "hello from litestar\n"


@get("/stream")
async def stream() -> Stream:
    async def parts() -> AsyncIterator[str]:
        for number in range(3):
            yield f"part {number}\n"

    return Stream(parts(), media_type=MediaType.TEXT)


@post("/upload", media_type=MediaType.TEXT, status_code=200, request_max_body_size=None)
async def upload(request: Request) -> str:
    size = 0
    async for part in request.stream():
        size += len(part)
    return f"{size}\n"


@websocket("/echo")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        return


app = Litestar([hello, stream, upload, echo])
