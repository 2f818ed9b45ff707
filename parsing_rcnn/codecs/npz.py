"""People as npz, their arrays by the names of `People`. No pickles, so no code, inside."""

from __future__ import annotations

import io
import json
import math
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.analyzer import TASKS
from parsing_rcnn.own_classes import BUILT_IN, read_taxonomy, write_taxonomy
from parsing_rcnn.people import PER_PERSON, People
from parsing_rcnn.taxonomy import CIHP, MHP, Taxonomy

_REQUIRED = ("boxes", "scores", "image_size")
_LEFT_OUT = "part_probs"  # twenty times the bytes of `parts`
_OPTIONAL = tuple(name for name in PER_PERSON if name not in (*_REQUIRED, _LEFT_OUT))

# dtype and the lengths after the number of people, None for any; `People` checks the rest
_SHAPES: dict[str, tuple[type[np.generic], tuple[int | None, ...]]] = {
    "boxes": (np.float32, (4,)),
    "scores": (np.float32, ()),
    "parts": (np.uint8, (None, None)),
    "part_scores": (np.float32, (None,)),
    "iuv": (np.uint8, (3, None, None)),
    "iuv_scores": (np.float32, (None,)),
    "tracker_id": (np.int32, ()),
}
_MAX_CELLS = 512  # cells of a map's side, and classes, in what others send: four times those of the models here
_LONGEST_TAXONOMY = 1 << 17  # bytes of its JSON: 128 classes with the longest names take 100 kB
_PACKED = 1032  # bytes that one byte of deflate data can stand for at most
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def to_arrays(people: People) -> dict[str, NDArray[np.generic]]:
    """The arrays of the archive; what was not computed is left out.

    Returns:
        `boxes` float32 [n,4], `scores` float32 [n], `image_size` int32 [2] (height, width), and of `parts` uint8
        [n,S,S], `part_scores` float32 [n,classes], `iuv` uint8 [n,3,S,S], `iuv_scores` float32 [n,25] and `tracker_id`
        int32 [n] what there is; where the head of a map is not trained `untrained` bool [2], of parsing and densepose;
        and of part classes of one's own `taxonomy` uint8 [bytes], JSON as in the model card; without that a taxonomy
        that no card could hold, which has to be given to `decode`.
    """
    arrays: dict[str, NDArray[np.generic]] = {**people.per_person()}
    arrays.pop(_LEFT_OUT, None)
    arrays["image_size"] = np.array(people.image_size, dtype=np.int32)
    doubted = [task in people.untrained and maps is not None for task, maps in _maps(people)]
    if any(doubted):
        arrays["untrained"] = np.array(doubted)
    document = _document(people.taxonomy)
    if document is not None:
        arrays["taxonomy"] = np.frombuffer(document, np.uint8)
    return arrays


@lru_cache(maxsize=16)
def _document(taxonomy: Taxonomy) -> bytes | None:
    """What an archive says of a taxonomy; None of CIHP and MHP, and where it could not be read again."""
    if taxonomy in BUILT_IN.values():
        return None
    said = write_taxonomy(taxonomy)
    try:
        same = read_taxonomy(said) == taxonomy
    except ValueError:
        return None
    return json.dumps(said, ensure_ascii=False).encode() if same else None


def _maps(people: People) -> list[tuple[str, NDArray[np.uint8] | None]]:
    return list(zip(TASKS, (people.parts, people.iuv), strict=True))


def encode(people: People) -> bytes:
    """The bytes of a compressed npz archive."""
    buffer = io.BytesIO()
    # A zip of its own: numpy compresses at level 6, which is five times slower for label maps and hardly smaller.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in to_arrays(people).items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def decode(source: bytes | Path, taxonomy: Taxonomy | None = None, *, most: int | None = None) -> People:
    """Read an archive back. What its arrays are is read from their headers, and judged, before they are unpacked.

    Args:
        source: its bytes, or its path.
        taxonomy: of `parts`. None takes the archive's own, which it has where it is neither CIHP nor MHP; else that of
            the two which has as many classes as `part_scores`, and CIHP where there are none. One that is given counts
            where the archive's own cannot be read.
        most: people that it may have, whose maps have then at most 512 cells a side: for what others send. None, for
            files of one's own, sets no limit.

    Raises:
        ValueError: it is no such archive, or has more than it may.
        TypeError: an array has a wrong dtype.
        OSError: the file cannot be read.
    """
    data = source if isinstance(source, bytes) else source.read_bytes()
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except Exception as error:  # zipfile has many for what is none
        raise _other(error) from None
    with archive:
        there = archive.namelist()
        names = [*_REQUIRED, *(n for n in (*_OPTIONAL, "untrained", "taxonomy") if f"{n}.npy" in there)]
        count: int | None = None
        for name in names:
            shape, dtype = _header(archive, name)
            if math.prod(shape) * dtype.itemsize > _PACKED * len(data):
                raise ValueError(f"{name}: {shape} of {dtype} cannot be in {len(data)} bytes: the archive is damaged")
            if name in _SHAPES:
                count = shape[0] if shape and count is None else count
                _judge(name, shape, dtype, count, most)
            elif name == "taxonomy":
                if dtype != np.uint8 or len(shape) != 1 or shape[0] > _LONGEST_TAXONOMY:
                    raise ValueError(f"taxonomy: expected JSON, uint8 [bytes] up to {_LONGEST_TAXONOMY}, got {shape}")
            elif shape != (2,):
                raise ValueError(f"{name}: expected shape (2,), got {shape}")
            elif dtype.kind not in ("b" if name == "untrained" else "iu"):
                raise TypeError(f"{name}: expected {'bool' if name == 'untrained' else 'int32'}, got {dtype}")
        arrays: dict[str, Any] = {name: _array(archive, name) for name in names}
    own = _own(arrays.pop("taxonomy", None), taxonomy)
    if own is not None and taxonomy is not None and taxonomy != own:
        raise ValueError(f"its parts are of the {len(own)} classes of {own.name}, not the {len(taxonomy)} expected")
    taxonomy = taxonomy or own
    if taxonomy is None:
        classes = arrays["part_scores"].shape[1] if "part_scores" in arrays else len(CIHP)
        if classes not in (len(CIHP), len(MHP)):
            raise ValueError(f"its parts are of {classes} classes that it does not name: give their `taxonomy`")
        taxonomy = MHP if classes == len(MHP) else CIHP
    height, width = (int(length) for length in arrays.pop("image_size"))
    doubted = arrays.pop("untrained", np.zeros(len(TASKS), np.bool_))
    untrained = frozenset(task for task, doubt in zip(TASKS, doubted, strict=True) if doubt)
    return People(image_size=(height, width), taxonomy=taxonomy, untrained=untrained, **arrays)


def _own(document: NDArray[np.uint8] | None, given: Taxonomy | None) -> Taxonomy | None:
    """The taxonomy of an archive that says one, or the one given where that cannot be read."""
    if document is None:
        return None
    try:
        return read_taxonomy(json.loads(document.tobytes()))
    except (ValueError, RecursionError) as error:  # the second of JSON that is too deep
        if given is not None:
            return given
        said = str(error) if isinstance(error, ValueError) else "its JSON is nested too deeply"
        raise ValueError(f"taxonomy: {said}; give the `taxonomy` of its parts") from None


def _header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of an array that stays packed."""
    try:
        member = archive.getinfo(f"{name}.npy")
        if member.compress_type not in _METHODS or member.flag_bits & 1:
            raise ValueError("it is encrypted, or compressed with something else than deflate")
        with archive.open(member) as file:
            if np.lib.format.read_magic(file) != (1, 0):  # later ones may have headers of gigabytes
                raise ValueError("its arrays are not of npy version 1.0")
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:
        raise _other(error) from None
    if dtype.hasobject:
        raise ValueError(f"{name}: holds Python objects, which take allow_pickle and are never loaded")
    if min(shape, default=0) < 0:
        raise ValueError(f"{name}: {shape} is no shape")
    return shape, dtype


def _judge(name: str, shape: tuple[int, ...], dtype: np.dtype[Any], count: int | None, most: int | None) -> None:
    kind, lengths = _SHAPES[name]
    if dtype != kind:
        raise TypeError(f"{name}: expected {kind.__name__}, got {dtype}")
    wanted = (count, *lengths)
    if len(shape) != len(wanted) or any(want not in (None, have) for have, want in zip(shape, wanted, strict=True)):
        shown = ", ".join(["n", *("S" if length is None else str(length) for length in lengths)])
        of = "" if count is None else f" with n = {count}"
        raise ValueError(f"{name}: expected shape ({shown}){of}, got {shape}")
    if most is not None and (shape[0] > most or max(shape[1:], default=0) > _MAX_CELLS):
        raise ValueError(f"{name}: {shape} is too much: at most {most} people and {_MAX_CELLS} cells a side are read")


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    try:
        with archive.open(f"{name}.npy") as file:
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
            if file.read(1):  # at its end the checksum is compared, too
                raise ValueError(f"{name} goes on after its end")
    except Exception as error:  # of zipfile, zlib and numpy, each with its own for what is damaged
        raise _other(error) from None
    return array


def _other(error: Exception) -> ValueError:
    said = str(error) or type(error).__name__
    return ValueError(f"not an npz of people ({said}): it holds boxes, scores, image_size and maps")
