"""The threads that call a synchronous application, N at a time in one child. Connections stay with
the loop in the main thread: a thread makes bytes, the loop sends them.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import deque

from supervisor.workers.web.calls import Call


class Pool:
    """`in_hand`: calls that a thread has, or that wait for one. The main thread alone calls its
    methods, but `give`.
    """

    def __init__(self, threads: int, room: int) -> None:
        self.in_hand = 0
        self._room = room  # bytes that a call may be ahead of its client
        self._todo: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._made: deque[tuple[Call, bytes, bool]] = deque()
        self._news = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._changed = threading.Condition()
        # Bytes of each call that the loop has not taken yet, and those that its client has not.
        self._waiting: dict[Call, int] = {}
        self._unsent: dict[Call, int] = {}
        self._threads = [
            threading.Thread(target=self._work, name=f"application-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def fileno(self) -> int:
        """Readable when there is something to `take`."""
        return self._news

    def submit(self, call: Call) -> None:
        """Let a thread make this answer."""
        self.in_hand += 1
        self._waiting[call] = self._unsent[call] = 0
        self._todo.put(call)

    def take(self) -> list[tuple[Call, bytes, bool]]:
        """The results of the threads since the last time: of which call, and whether it is the
        last one.
        """
        try:
            os.eventfd_read(self._news)
        except BlockingIOError:
            return []
        made = []
        with self._changed:
            while self._made:
                call, data, is_last = one = self._made.popleft()
                made.append(one)
                self._waiting[call] -= len(data)
                self._unsent[call] += len(data)
                if is_last:
                    self.in_hand -= 1
                    del self._waiting[call], self._unsent[call]
        return made

    def sent(self, call: Call, unsent: int) -> None:
        """The client of a call has all but so many bytes of what was made."""
        with self._changed:
            if call in self._unsent:
                self._unsent[call] = unsent
                self._changed.notify_all()

    def abandon(self, call: Call) -> None:
        """Nobody takes the answer any more; its thread ends it at the next part."""
        with self._changed:
            call.more = False
            self._changed.notify_all()

    def close(self) -> None:
        """Let the threads go, once they have nothing in hand."""
        for _ in self._threads:
            self._todo.put(None)
        for thread in self._threads:
            thread.join()
        os.close(self._news)

    def give(self, call: Call, data: bytes) -> None:
        """In a thread: let the loop send what it has made."""
        with self._changed:
            self._waiting[call] += len(data)
            self._made.append((call, data, call.is_over))
        os.eventfd_write(self._news, 1)

    def _work(self) -> None:
        while (call := self._todo.get()) is not None:
            self.give(call, call.first())
            while not call.is_over:
                if self._may_go_on(call):
                    self.give(call, call.next())
                else:
                    call.cut()
                    self.give(call, b"")

    def _may_go_on(self, call: Call) -> bool:
        """Wait for the client; False where it is gone."""
        with self._changed:
            room = 1 if call.file is not None else self._room
            self._changed.wait_for(
                lambda: not call.more or self._waiting[call] + self._unsent[call] < room
            )
            return call.more
