"""ASGI over HTTP/1.1 and WebSocket, as protocols of the event loop of a child.

arrivals    accepts, when this child should
connection  one client: bytes to the machine `http1`, and its events to calls
call        one request: what `receive` and `send` of the application are
websocket   one WebSocket, on the machine of `websockets`
deadlines   what a request may take, and what it does when it is late
waits       what may be waited for how long, oldest first, with one timer for all
service     what the connections of a child share
stop        the end of all that, in order
"""
