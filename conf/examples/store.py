"""A line protocol for the module `cache`: `get KEY`, `set KEY VALUE`, `delete KEY`."""

from supervisor import current


def serve(connection, _address):
    """Answer each line with the value, `ok`, `none` or `too large`."""
    cache = current().modules["cache"]
    with connection.makefile("rb") as lines:
        for line in lines:
            verb, key, *value = line.split(maxsplit=2)
            if verb == b"set":
                answer = b"ok" if cache.put(key, value[0].strip(), ttl=3600) else b"too large"
            elif verb == b"delete":
                answer = b"ok" if cache.delete(key) else b"none"
            else:
                answer = cache.get(key) or b"none"
            connection.sendall(answer + b"\n")
