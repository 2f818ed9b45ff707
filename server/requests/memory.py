"""Counts the bytes that uploads hold: bodies of requests, the pictures in them, and frames of streams."""

from __future__ import annotations

from server.errors import BodyTooLarge, Busy


class UploadMemory:
    """What all uploads together may hold.

    Attributes:
        most: bytes.
        held: bytes that are held now.
    """

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0

    @property
    def roomy(self) -> bool:
        """Whether less than half of it is held."""
        return 2 * self.held < self.most


class Share:
    """What one upload holds of it. It is used on the event loop only.

    Attributes:
        size: bytes.
    """

    def __init__(self, memory: UploadMemory) -> None:
        self.memory, self.size = memory, 0

    def count(self, size: int) -> None:
        """Count further bytes, whether there is room for them or not."""
        self.size += size
        self.memory.held += size

    def hold(self, size: int) -> None:
        """Count further bytes. They count until `keep` or `end` also where this raises.

        Raises:
            BodyTooLarge: this upload alone is beyond the limit, so waiting would not help.
            Busy: all together are.
        """
        self.count(size)
        most = self.memory.most
        if self.size > most:
            raise BodyTooLarge(
                f"the request has {self.size} bytes or more, and all uploads together may have {most} "
                "(--upload-memory): send smaller pictures"
            )
        if self.memory.held > most:
            raise Busy(
                f"all uploads together are beyond {most} bytes (--upload-memory): come back in {Busy.retry_after:g} s"
            )

    def keep(self, size: int) -> None:
        """Count so many bytes from now on, as the rest is dropped."""
        self.count(size - self.size)

    def end(self) -> None:
        """Everything is dropped."""
        self.keep(0)
