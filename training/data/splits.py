"""Which pictures are for training and which are held out: the one place that says so.

Every rule depends on names alone, so it holds on any machine and for any order of listing.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath

CCP_TWINS = {"0730": "0183", "0616": "0223", "1083": "0343", "1074": "0403", "1913": "0643"}
"""Stems of photos that clothing-co-parsing holds twice: of the one beside what is trained on (the last three have no
labels), and of the one in validation. Found by comparing all pairs, shrunk, cropped and mirrored. Nothing is trained on
the first ones; the weights up to 7 were (LABBOOK 56)."""


def ccp_split(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Split the clothing-co-parsing photos: ids with `id % 10 == 3` are validation (101 of the 904 labelled photos).

    Args:
        names: file names or stems; the stem is the decimal photo id, for example "0013.jpg".

    Returns:
        (train, validation), each sorted by name; photos that validation has under another id are in neither.

    Raises:
        ValueError: a stem is not a number.
    """
    ordered = sorted(names)
    held_out = {name for name in ordered if int(PurePath(name).stem) % 10 == 3}
    left_out = held_out | {name for name in ordered if PurePath(name).stem in CCP_TWINS}
    return [name for name in ordered if name not in left_out], [name for name in ordered if name in held_out]


def groups_split(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Split the group photos: every fifth by sorted name (index % 5 == 0) is validation.

    Pass all names of the folder: a subset would shift the indices and mix the parts.

    Returns:
        (train, validation), each sorted by name.
    """
    return _every(names, 5)


def background_split(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Split the pictures without people: index % 3 == 0 in the order of names is validation (23 of 67).

    Pass all names of the folder: a subset would shift the indices and mix the parts.

    Returns:
        (train, validation), each sorted by name.
    """
    return _every(names, 3)


def asset_split(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Split skins, or poses, of synthetic people: index % 4 == 1 in the order of names is held out.

    Pass all names: a subset would shift the indices and mix the parts.

    Returns:
        (train, held out), each sorted by name.
    """
    ordered = sorted(names)
    return [n for i, n in enumerate(ordered) if i % 4 != 1], [n for i, n in enumerate(ordered) if i % 4 == 1]


def _every(names: Iterable[str], step: int) -> tuple[list[str], list[str]]:
    ordered = sorted(names)
    return [name for index, name in enumerate(ordered) if index % step], ordered[::step]
