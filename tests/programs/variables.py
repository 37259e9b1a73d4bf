"""Handlers that tell the variable they saw when this module was imported, and now."""

import os

AT_IMPORT = os.environ.get("COLOUR", "none")


def tell(connection, address):
    connection.sendall(f"{AT_IMPORT} {os.environ.get('COLOUR', 'none')}\n".encode())


def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [f"{AT_IMPORT} {os.environ.get('COLOUR', 'none')}".encode()]
