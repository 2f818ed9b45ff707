"""Lets several runs of `predict` share one output folder: each run lists there the results that it is going to write,
and a run that would write one of them as well is refused.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn_client.predict.sources import Source
from parsing_rcnn_client.unfinished import Unfinished, held, is_written

_NAME = ".predict"
_PATIENCE, _PAUSE = 5.0, 0.02  # seconds to keep trying for the folder's lock, which a claim holds for far less


@contextmanager
def claimed(out: Path, sources: Sequence[Source]) -> Iterator[None]:
    """Within the `with` block, no other run can begin that would write results of the same pictures into this folder.

    Runs of other pictures can. The names are listed in OUT/.predict.part (for further runs .predict.2.part, and so on);
    the file of a killed run is replaced. On systems without file locks nothing is checked.

    Args:
        out: folder of the results; it must exist.
        sources: the pictures.

    Raises:
        InvalidOptions: another run writes one of the results, or the folder is not writable.
    """
    try:
        claim = _claim(out, sources)
    except OSError as error:
        raise InvalidOptions(
            f"-o {out}: nothing can be written there ({error.strerror or error}); name another folder"
        ) from None
    try:
        yield
    finally:
        if claim is not None:
            claim.drop()


def _claim(out: Path, sources: Sequence[Source]) -> Unfinished | None:
    """Write the file that claims these pictures; None where there are no locks."""
    results = {os.fsencode(source.target.relative_to(out)): source for source in sources}
    lock = _held(out)  # of two runs that begin at the same time, the second then sees the claim of the first
    if lock is None:
        return None
    try:
        for other in sorted(out.glob(f"{_NAME}*.part")):
            taken = results.keys() & _claimed_by(other)
            if taken:
                first = min((results[name] for name in taken), key=lambda source: source.target)
                more = f" and {len(taken) - 1} more" * (len(taken) > 1)
                raise InvalidOptions(
                    f"-o {out}: another run writes the results of {first.path}{more} there: wait for its end, or "
                    "name another folder"
                )
        claim = Unfinished(out / _NAME, f"{_NAME}.part")
        try:
            _write(claim, b"\0".join(results))
        except OSError:
            claim.drop()
            raise
    finally:
        os.close(lock)
    return claim


def _held(out: Path) -> int | None:
    """Lock the folder, waiting a little if another run has the lock; None where there are no locks."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return held(out)
        except InvalidOptions:
            if time.monotonic() > end:  # not a claim, then: a run with --npz holds the lock until its end
                raise
        time.sleep(_PAUSE)


def _claimed_by(path: Path) -> frozenset[bytes]:
    """The results that a run has claimed; none if it has ended."""
    with suppress(OSError):
        if is_written(path):
            return frozenset(path.read_bytes().split(b"\0"))
    return frozenset()


def _write(claim: Unfinished, data: bytes) -> None:
    while data:
        data = data[claim.file.write(data) :]
