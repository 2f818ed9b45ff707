"""The newest frame of a live source: one frame waits, and a newer one takes its place."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterable, Callable, Iterable
from contextlib import suppress

from parsing_rcnn.codecs.picture import Picture

_PAUSE = 0.001  # seconds after each frame that replaces one: a source faster than any camera must not take all time
_PATIENCE = 1.0  # seconds for which `close` waits for the reading thread


class Newest:
    """Reads frames as they come: in a thread, or as a task if they are asynchronous. Made inside a running event loop.

    Args:
        frames: the source.
        changed: called in the loop when a frame waits, and at the end.

    Attributes:
        ended: no more frames will come; the last one may still wait.
        failure: what the source raised, if anything.
    """

    def __init__(self, frames: Iterable[Picture] | AsyncIterable[Picture], changed: Callable[[], None]) -> None:
        self.ended = False
        self.failure: Exception | None = None
        self._changed, self._loop = changed, asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._came = 0
        self._frame: tuple[int, Picture] | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        if isinstance(frames, AsyncIterable):
            self._task = asyncio.create_task(self._follow(frames))
        else:
            self._thread = threading.Thread(target=self._read, args=(frames,), name="frames", daemon=True)
            self._thread.start()

    @property
    def waits(self) -> bool:
        """Whether a frame waits."""
        return self._frame is not None

    def take(self) -> tuple[int, Picture] | None:
        """Take the frame that waits: (its number from 0, the frame); None where none waits."""
        with self._lock:
            frame, self._frame = self._frame, None
        return frame

    async def close(self) -> None:
        """Stop reading. A thread that still waits for a frame after a second is left alone; it ends with that frame."""
        self.ended = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, _PATIENCE)

    def _read(self, frames: Iterable[Picture]) -> None:
        try:
            for picture in frames:
                if self.ended:
                    return
                if self._put(picture):
                    self._tell()
                else:
                    time.sleep(_PAUSE)
        except Exception as error:  # raised to the caller once the frames before it are answered
            self.failure = error
        except BaseException as error:  # SystemExit or the like, which a thread cannot pass on
            self.failure = RuntimeError(f"the frames ended with {error!r}")
            self.failure.__cause__ = error
        finally:
            self.ended = True
            self._tell()

    async def _follow(self, frames: AsyncIterable[Picture]) -> None:
        try:
            async for picture in frames:
                first = self._put(picture)
                if first:
                    self._changed()
                await asyncio.sleep(0 if first else _PAUSE)  # the loop gets its turn even if the source never waits
        except Exception as error:  # as above
            self.failure = error
        except asyncio.CancelledError as error:
            if not self.ended:  # else it was close()
                self.failure = RuntimeError("the frames ended: what they waited for was cancelled")
                self.failure.__cause__ = error
        finally:
            self.ended = True
            self._changed()

    def _put(self, picture: Picture) -> bool:
        """Leave a frame to be taken. Returns whether none waited before."""
        with self._lock:
            first = self._frame is None
            self._frame = self._came, picture
            self._came += 1
        return first

    def _tell(self) -> None:
        with suppress(RuntimeError):  # the loop is closed, so nobody waits
            self._loop.call_soon_threadsafe(self._changed)
