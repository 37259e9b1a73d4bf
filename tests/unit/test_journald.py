"""Entries as journald reads them."""

import array
import logging
import os
import socket
import struct

import pytest

from supervisor.log.journald import JournalSocket, encode, priority_of


def test_a_line_is_a_plain_field():
    """`KEY=value`."""
    assert encode({"MESSAGE": "all is well", "PRIORITY": "6"}) == (
        b"MESSAGE=all is well\nPRIORITY=6\n"
    )


def test_many_lines_are_one_field_with_its_length():
    """A value with line breaks cannot end the field, nor begin another."""
    value = "first\nPRIORITY=0\nlast"
    length = struct.pack("<Q", len(value))
    assert encode({"MESSAGE": value}) == b"MESSAGE\n" + length + value.encode() + b"\n"


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.DEBUG, 7), (logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3), (50, 2)],
)
def test_levels_are_priorities(level, priority):
    """Those of syslog(3)."""
    assert priority_of(level) == priority


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_an_entry_of_any_size_arrives_whole(tmp_path, size):
    """As a datagram; too large for one, as a sealed file."""
    address = str(tmp_path / "journal")
    fields = {"MESSAGE": "x" * size}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(address)
        journald.settimeout(30)
        ours = JournalSocket(address)
        ours.send(fields)
        ours.close()
        data, passed, _, _ = journald.recvmsg(4096, socket.CMSG_SPACE(4))
    for _, _, descriptors in passed:
        (descriptor,) = array.array("i", descriptors)
        with os.fdopen(descriptor, "rb") as file:
            file.seek(0)
            data = file.read()
    assert data == encode(fields)
