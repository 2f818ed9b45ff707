"""Runs of `predict` that write into one folder: each tells the others there which results are its own."""

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
_PATIENCE, _PAUSE = 5.0, 0.02  # seconds: whoever looks around in the folder holds it for less


@contextmanager
def claimed(out: Path, sources: Sequence[Source]) -> Iterator[None]:
    """While it is open no other run begins that writes a result of one of these pictures into the folder.

    Runs of other pictures do. OUT/.predict.part (.predict.2.part, and so on, where there are more of them) has the
    names; what a killed run left of it is replaced. Where there are no locks nothing is known of others.

    Args:
        out: folder of the results, which is there.
        sources: the pictures.

    Raises:
        InvalidOptions: another run writes one of the results, or nothing can be written there.
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
    """What tells of these pictures; None where there are no locks."""
    own = {os.fsencode(source.target.relative_to(out)): source for source in sources}
    place = _held(out)  # so that of two runs that begin at once the second one sees the first
    if place is None:
        return None
    try:
        for other in sorted(out.glob(f"{_NAME}*.part")):
            taken = own.keys() & _claimed_by(other)
            if taken:
                first = min((own[name] for name in taken), key=lambda source: source.target)
                more = f" and {len(taken) - 1} more" * (len(taken) > 1)
                raise InvalidOptions(
                    f"-o {out}: another run writes the results of {first.path}{more} there: wait for its end, or "
                    "name another folder"
                )
        claim = Unfinished(out / _NAME, f"{_NAME}.part")
        try:
            _write(claim, b"\0".join(own))
        except OSError:
            claim.drop()
            raise
    finally:
        os.close(place)
    return claim


def _held(out: Path) -> int | None:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return held(out)
        except InvalidOptions:
            if time.monotonic() > end:  # it is no run of pictures, but one that holds the folder for the arrays
                raise
        time.sleep(_PAUSE)


def _claimed_by(path: Path) -> frozenset[bytes]:
    """What a run has claimed; nothing where it has ended."""
    with suppress(OSError):
        if is_written(path):
            return frozenset(path.read_bytes().split(b"\0"))
    return frozenset()


def _write(claim: Unfinished, data: bytes) -> None:
    while data:
        data = data[claim.file.write(data) :]
