"""The newest frame of a live source, for whoever has time for it."""

from __future__ import annotations

import threading

from parsing_rcnn_client.video.media import Frame


class Mailbox:
    """Room for one frame: a newer one takes the place of one that nobody took.

    Attributes:
        dropped: frames that were replaced.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._frame: Frame | None = None
        self._changed = threading.Condition()

    def put(self, frame: Frame) -> None:
        """The newest frame."""
        with self._changed:
            self.dropped += self._frame is not None
            self._frame = frame
            self._changed.notify()

    def get(self, timeout: float) -> Frame | None:
        """Take the newest frame, or None when none came in time (seconds)."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None, timeout)
            frame, self._frame = self._frame, None
            return frame
