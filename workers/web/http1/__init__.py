"""HTTP/1.1 of the server's side as a machine without I/O: bytes in, events out; answers in, bytes
out.

It parses with httptools (llhttp) and adds what RFC 9110 and 9112 demand beside that. It knows no
socket and no clock. One `Connection` serves one connection of a client, one request after another:

    connection = Connection(Limits(header=65_536, body=0))

    event = connection.receive(data)          # bytes that came; b"" asks for what is left of them
    while event is not None:
        ...
        event = connection.receive()

The events, in order, of each request:

    Request   its head. `complete` says that no body follows: then there are no further events.
    bytes     a part of its body, never empty; chunks are taken off, trailers are dropped.
    END       its body is whole.
    Refusal   instead of any of these: the bytes break the protocol or a limit. `status` answers it
              where nothing was answered yet, else the connection ends. It is the last event.

None means that more bytes are needed, or that the request is complete: the machine never looks
beyond the end of a request, so the next one, which may have come with it (`waiting` bytes), is read
after `renew()`. `state` says where it is (`Reading`): IDLE nothing of a request has come, HEAD in a
head, LENGTH to TRAILERS in a body, DONE, FAULTY after a Refusal, GIVEN_UP after `hand_over()`.
At the client's end of file, in a body means that it broke off.

The answer to `connection.request`, whose bytes the caller sends:

    head = head_of(200, [(b"content-type", b"text/plain")])     # checked, and good for many answers
    connection.answer(head, date_line(seconds)) + connection.body(b"some") ... + connection.end()

`answer` chooses the framing: the application's Content-Length, or `length=` where the caller knows
the whole body (then it becomes the Content-Length), else chunked, else (HTTP/1.0) until the close.
`body` and `end` keep to it. `whole` makes all three at once. For HEAD, 204 and 304 they return b""
and nothing is counted. Bytes that the caller sends by other means (sendfile) are announced with
`count(n)`, which returns what to send before and after them, or None where they must not be sent.
InvalidAnswer is raised, before a byte is returned, for an answer that the protocol does not allow:
an error of the application. Where the head was not sent yet, `withdraw()` forgets it, and another
answer may be made.

    connection.go_on()        the interim answer 100, due when the application reads the body; b""
                              where the client does not wait for it
    connection.interim(103, headers)   early hints; b"" for HTTP/1.0
    connection.refuse(400, date)       a whole answer of a few words, which ends the connection
    connection.break_off()             the answer cannot be finished: the connection has to end
    connection.last = True    the answer, if its head is not made yet, says `Connection: close`
    connection.keeps          after `answer`: this connection may serve another request
    connection.renew()        after `end`, where it keeps and state is DONE: ready for the next one
    connection.hand_over()    for an upgrade (`request.upgrade == b"websocket"`): the bytes that
                              came after the head; the machine is done. An upgrade that the caller
                              does not offer needs nothing: the request is served as any other.
    connection.close()        breaks the cycle between machine and parser

Names of fields are in lower case, values without the space around them, both bytes as they came.
Whoever makes an environment out of them drops names with an underscore.
"""

from supervisor.workers.web.http1.answers import Head, InvalidAnswer, date_line, head_of, phrase
from supervisor.workers.web.http1.connection import Connection
from supervisor.workers.web.http1.known import Block, Line
from supervisor.workers.web.http1.reading import END, Event, Reading
from supervisor.workers.web.http1.request import Fields, Limits, Refusal, Request

__all__ = [
    "END",
    "Block",
    "Connection",
    "Event",
    "Fields",
    "Head",
    "InvalidAnswer",
    "Limits",
    "Line",
    "Reading",
    "Refusal",
    "Request",
    "date_line",
    "head_of",
    "phrase",
]
