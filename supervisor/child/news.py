"""The news that a child tells the master through the one pipe of its generation: a word each,
written at once, so that words of many children never mix (pipe(7), PIPE_BUF).
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator

_WORD = struct.Struct("=HHI")  # kind, unused, slot


class News(enum.IntEnum):
    """The events of a child's life."""

    READY = 1
    REQUESTS = 2  # it has had as many requests as a generation may have
    MEMORY = 3  # it has grown as large as one may be


def encode(kind: News, slot: int) -> bytes:
    """The word of a child."""
    return _WORD.pack(kind, 0, slot)


def decode(data: bytes) -> Iterator[tuple[News, int]]:
    """(kind, slot) of each word; what is no word of ours is passed over, for a child may write
    anything.
    """
    whole = len(data) // _WORD.size * _WORD.size
    for kind, _, slot in _WORD.iter_unpack(data[:whole]):
        if kind in News._value2member_map_:
            yield News(kind), slot
