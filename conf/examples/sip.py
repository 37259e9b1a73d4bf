"""A SIP OPTIONS responder (RFC 3261): answers "are you there?", and tells what it would allow."""

import hashlib
import re

ALLOWED = b"OPTIONS"
START = re.compile(rb"([A-Z]+) (sips?:\S+) SIP/2\.0\r\n")
# Compact forms, RFC 3261 section 7.3.3.
FULL = {b"v": b"via", b"f": b"from", b"t": b"to", b"i": b"call-id"}
COPIED = (b"via", b"from", b"to", b"call-id", b"cseq")
NAMES = dict(zip(COPIED, (b"Via", b"From", b"To", b"Call-ID", b"CSeq"), strict=True))


def reply(data, address):
    """Return the response to a request; None for what gets none: responses, ACK, keep-alives."""
    start = START.match(data)
    if start is None or start[1] == b"ACK":
        return None
    headers = list(parse(data[start.end() :].partition(b"\r\n\r\n")[0]))
    if {name for name, _ in headers} < set(COPIED):
        return None  # RFC 3261 section 8.1.1: without these there is no way to answer
    status = b"200 OK" if start[1] == b"OPTIONS" else b"405 Method Not Allowed"
    lines = [b"SIP/2.0 " + status]
    topmost = True
    for name, value in headers:
        if name == b"via" and topmost:
            value, topmost = mark(value, address), False
        elif name == b"to" and b";tag=" not in value:
            value += b";tag=" + hashlib.md5(data, usedforsecurity=False).hexdigest()[:8].encode()
        lines.append(NAMES[name] + b": " + value)
    lines += [b"Allow: " + ALLOWED, b"Accept: application/sdp", b"Accept-Encoding: identity"]
    lines += [b"Accept-Language: en", b"Supported: ", b"Content-Length: 0", b"", b""]
    return b"\r\n".join(lines)


def parse(text):
    """Yield (name, value) of the headers that a response copies, in their order."""
    for line in re.sub(rb"\r\n[ \t]+", b" ", text).split(b"\r\n"):
        name, colon, value = line.partition(b":")
        name = name.strip().lower()
        name = FULL.get(name, name)
        if colon and name in COPIED:
            yield name, value.strip()


def mark(via, address):
    """Say in the topmost Via where the request came from (RFC 3261 18.2.1, RFC 3581)."""
    host, port = (str(part).encode() for part in address[:2])
    via, comma, rest = via.partition(b",")
    asked = re.search(rb";rport(?=;|$)", via)
    via = re.sub(rb";rport(?=;|$)", b";rport=" + port, via)
    sent_by = re.match(rb"SIP\s*/\s*2\.0\s*/\s*\w+\s+\[?([^\];:\s]+)", via)
    if asked or sent_by is None or sent_by[1] != host:
        via += b";received=" + host
    return via + comma + rest
