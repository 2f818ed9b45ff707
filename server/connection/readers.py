"""Clients that read their answers slowly: how long each may take, and how many bytes of them may wait together."""

from __future__ import annotations

import asyncio
from asyncio.transports import Transport

from server.connection.limits import ConnectionLimits, Patience, untaken

_FIRST = 5.0  # seconds after which it shows how fast a client reads
_LONG = 60.0  # seconds: who needs more to read the rest is let go where there is no room


class Readers:
    """The clients of a gateway that have not read their answers.

    Args:
        limit: the most bytes that these answers may have together. While they have more, nothing new is computed, and
            those who would need long to read theirs are let go.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.unread = limit, 0
        self._waiting: set[Reader] = set()

    def add(self, reader: Reader) -> None:
        self._waiting.add(reader)
        self.unread += reader.size
        self.make_room()

    def remove(self, reader: Reader) -> None:
        if reader in self._waiting:
            self._waiting.remove(reader)
            self.unread -= reader.size

    def make_room(self) -> bool:
        """Let the slowest go while there are too many bytes. Returns whether there is room for another answer."""
        if self.unread > self.limit:
            by_time = sorted(((reader.seconds_left, id(reader), reader) for reader in self._waiting), reverse=True)
            for seconds, _, reader in by_time:
                if self.unread <= self.limit or seconds <= _LONG:
                    break
                reader.let_go(f"answers that wait to be read have {self.unread} bytes, the limit is {self.limit}")
        return self.unread <= self.limit

    def slowest(self) -> Reader | None:
        """The one that would need longest to read the rest; None if nobody would need long."""
        slowest = max(self._waiting, key=lambda reader: reader.seconds_left, default=None)
        return slowest if slowest is not None and slowest.seconds_left > _LONG else None


class Reader(Patience):
    """Patience with a client that reads an answer. It must read all of it in `answer_seconds`, and at each look the
    share of it for the time until then, so a large answer is not held for long for nobody. Of an answer that is made
    piece by piece, as the client reads, the pieces so far count, and the time that it took to read these.

    Args:
        transport: of the connection.
        limits: of the connection.
        loop: the event loop.
        readers: all of this gateway.
    """

    def __init__(
        self, transport: Transport, limits: ConnectionLimits, loop: asyncio.AbstractEventLoop, readers: Readers
    ) -> None:
        super().__init__(transport, limits.read_seconds, loop.call_later)
        self.size = 0  # bytes that are held here; the loop frees them when the last one is sent
        self._most, self._time, self._readers = limits.answer_seconds, loop.time, readers
        self._begun, self._whole = 0.0, 0  # loop time, and bytes to be read then
        self._spent, self._read = 0.0, 0  # on earlier pieces of this answer: seconds, and bytes

    def begin(self, about: dict[str, str]) -> None:
        if not self.waits:
            self.size, self._whole = self._transport.get_write_buffer_size(), untaken(self._transport)
            self._begun = self._time()
            self._readers.add(self)
        super().begin(about)

    def end(self) -> None:
        if self.waits:
            self._spent += self._time() - self._begun
            self._read += self._whole
        self._readers.remove(self)
        super().end()

    def next_answer(self) -> None:
        """What is written from now on is another answer, which has its own time."""
        self._spent, self._read = 0.0, 0

    @property
    def seconds_left(self) -> float:
        """How long the client will need for what it has not read, if it reads on as it does."""
        seconds = self._time() - self._begun
        if seconds <= _FIRST:
            return 0.0
        left = untaken(self._transport)
        return left * seconds / max(self._whole - left, 1)

    def _lacks(self, before: int, left: int) -> str | None:
        seconds, whole = self._spent + self._time() - self._begun, self._read + self._whole
        if left and whole - left < whole * seconds / self._most:
            return f"in {seconds:.3g} s {whole - left} of {whole} bytes were read: all may take {self._most:g} s"
        return super()._lacks(before, left)
