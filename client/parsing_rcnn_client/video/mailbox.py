"""A slot for the newest frame of a live source."""

from __future__ import annotations

import threading

from parsing_rcnn_client.video.media import Frame


class Mailbox:
    """Holds one frame. A newer frame replaces one that has not been taken. Thread-safe.

    Attributes:
        dropped: how many frames were replaced.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._frame: Frame | None = None
        self._changed = threading.Condition()

    def put(self, frame: Frame) -> None:
        """Put in the newest frame."""
        with self._changed:
            self.dropped += self._frame is not None
            self._frame = frame
            self._changed.notify()

    def get(self, timeout: float) -> Frame | None:
        """Take the newest frame; None if none comes within `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None, timeout)
            frame, self._frame = self._frame, None
            return frame
