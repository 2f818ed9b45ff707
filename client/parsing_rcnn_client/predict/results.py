"""One COCO file for all pictures of a `predict` run, including those whose results are from an earlier run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from parsing_rcnn.codecs import png, rle
from parsing_rcnn.convert import PERSON_CATEGORY
from parsing_rcnn.errors import InvalidOptions, ParsingRCNNError
from parsing_rcnn_client.coco import CocoFile, found
from parsing_rcnn_client.names import legible, real_path
from parsing_rcnn_client.places import STANDARD, check_place
from parsing_rcnn_client.predict.files import Real
from parsing_rcnn_client.predict.outputs import read, stem_of
from parsing_rcnn_client.predict.sources import Source

PART_CATEGORY = 100
"""Added to a part's class id to get its category id; COCO's own category ids end at 90."""

_NAMED = 3
"""The most pictures named in a message."""

_IDS = range(-(2**63), 2**63)
"""Numbers that readers of COCO files accept as an id."""


@dataclass(frozen=True)
class CocoResults:
    """The COCO file of a run, and the ids and names of the pictures in it.

    Attributes:
        path: of the file.
        images: (id, file name) of each source, in the order of the sources.
        classes: the name of each part class, by class id: every part gets an annotation of its own. Empty if the engine
            does not name the classes; then the file lists those that occur. None for people without their parts.
    """

    path: Path
    images: Sequence[tuple[int | str, str]]
    classes: Sequence[str] | None = None

    @classmethod
    def of(
        cls,
        path: Path,
        sources: Sequence[Source],
        out: Path,
        ids: Path | None = None,
        classes: Sequence[str] | None = None,
    ) -> CocoResults:
        """The COCO file of these pictures. Their ids count from 1 in their order, or are taken from another COCO file.

        Args:
            path: of the file.
            sources: the pictures.
            out: folder of their other results; see `Source.name`.
            ids: COCO file whose `images` have `id` and `file_name`; None to count.
            classes: as the attribute.

        Raises:
            InvalidOptions: the file cannot be written there, or `ids` is not a COCO file or lacks a picture.
        """
        _check_place(path, sources, ids)
        names = [source.name(out) for source in sources]
        numbers: Sequence[int | str] = range(1, len(names) + 1) if ids is None else _looked_up(ids, names)
        return cls(path, list(zip(numbers, names, strict=True)), classes)

    def begin(self) -> CocoFile:
        """Begin the file already before the analysis: if it cannot be written, that shows now and not after hours.

        Raises:
            InvalidOptions: another run writes the file.
            ParsingRCNNError: nothing can be written there.
        """
        try:
            return CocoFile(self.path, {})
        except OSError as error:
            message = f"--coco {self.path}: cannot be written ({error.strerror or error}); name another file"
            raise ParsingRCNNError(message) from None

    def write(
        self, file: CocoFile, sources: Sequence[Source], failed: Collection[str], tasks: frozenset[str] | None = None
    ) -> int:
        """Write the file from the JSON files of these pictures.

        Args:
            file: from `begin`; it is finished here.
            sources: the pictures of `images`.
            failed: paths of pictures to leave out, although results of an earlier run may be there.
            tasks: take only what these tasks computed; None takes everything.

        Returns:
            The number of pictures in the file.

        Raises:
            OSError: the file cannot be written, or a result cannot be read.
            ValueError: a result is not JSON.
        """
        names = {k: name for k, name in enumerate(self.classes or ()) if k}
        count = 0
        for source, (number, name) in zip(sources, self.images, strict=True):
            if str(source.path) in failed:
                continue
            document = read(source.target, tasks)
            height, width = document["image"]["height"], document["image"]["width"]
            file.image({"id": number, "file_name": name, "width": width, "height": height})
            count += 1
            for person in document["predictions"]:
                owner = file.annotation({"image_id": number, **_person(person)})
                for part in _parts(person, (height, width)) if self.classes is not None else ():
                    file.annotation({"image_id": number, **part, "part_of": owner})
                names |= {part["class_id"]: part["class"] for part in person.get("parts", ())}
        categories = [{"id": PERSON_CATEGORY, "name": "person", "supercategory": "person"}]
        if self.classes is not None:
            categories += [
                {"id": PART_CATEGORY + k, "name": name, "supercategory": "part"} for k, name in sorted(names.items())
            ]
        file.head({"categories": categories})
        file.close()
        return count


def _person(person: Mapping[str, Any]) -> dict[str, Any]:
    return found(person["bbox"], person["confidence"], person.get("rle"), PERSON_CATEGORY)


def _parts(person: Mapping[str, Any], size: tuple[int, int]) -> Iterator[dict[str, Any]]:
    """A COCO entry for each part in a person's JSON; `size` is the picture's (height, width)."""
    if "parts_png" not in person:
        return
    labels, (left, top) = png.from_base64(person["parts_png"]), person["offset"]
    scores = {part["class_id"]: part.get("score", 1.0) for part in person["parts"]}
    for class_id, crop in rle.encode_classes(labels).items():
        x, y, width, height = cv2.boundingRect((labels == class_id).view(np.uint8))
        box = (left + x, top + y, left + x + width, top + y + height)
        score = person["confidence"] * scores.get(class_id, 1.0)
        yield found(box, score, rle.shift(crop, (left, top), size), PART_CATEGORY + class_id)


def check_result(path: Path, option: str, sources: Sequence[Source]) -> None:
    """Check, before the analysis, that the file for all pictures can be written and replaces nothing that is needed.

    Args:
        path: of the file.
        option: the option that names it.
        sources: the pictures.

    Raises:
        InvalidOptions: the file is one of the pictures or one of their results, or cannot be written.
    """
    check_place(path, named=f"{option} {path}")
    whole, real = real_path(path), Real()
    stem = stem_of(whole.name.removesuffix(".part"))
    for source in sources:
        target = real.name(source.target)
        if whole == real.file(source.path) or (stem == target.name and whole.parent == target.parent):
            raise InvalidOptions(f"{option} {path} is {source.path} itself, or its result: name another file")


def _check_place(path: Path, sources: Sequence[Source], ids: Path | None) -> None:
    """Refuse a path of the COCO file that cannot be written, or is needed."""
    if path == STANDARD:
        raise InvalidOptions(f"--coco {path}: name a file")
    if ids is not None and real_path(ids) == real_path(path):
        check_place(path, named=f"--coco {path}")
        raise InvalidOptions(f"--coco {path} is the file of --image-ids: name another one")
    check_result(path, "--coco", sources)


def _looked_up(ids: Path, names: Sequence[str]) -> list[int | str]:
    """The ids of these pictures in a COCO file. A picture is looked up by its whole name, or else by its name without
    folders, if only one picture has that name on either side.
    """
    known = _ids_of(ids)
    short = Counter(PurePosixPath(name).name for name in known)
    bare = {PurePosixPath(name).name: number for name, number in known.items()}
    ours = Counter(PurePosixPath(name).name for name in names)
    looked_up: dict[str, int | str] = {}
    for name in names:
        last = PurePosixPath(name).name
        if name in known:
            looked_up[name] = known[name]
        elif short[last] == ours[last] == 1:
            looked_up[name] = bare[last]
    missing = [name for name in names if name not in looked_up]
    if missing:
        more = ", ..." if len(missing) > _NAMED else ""
        raise InvalidOptions(
            f"--image-ids {ids}: {len(missing)} of the {len(names)} pictures have no entry of their own there "
            f"({', '.join(missing[:_NAMED])}{more}): leave them out, or the option"
        )
    return [looked_up[name] for name in names]


def _ids_of(path: Path) -> dict[str, int | str]:
    """File name -> id of the pictures of a COCO file."""
    try:
        images = json.loads(path.read_bytes())["images"]
        entries = [(str(image["file_name"]), image["id"]) for image in images]
    except OSError as error:
        raise InvalidOptions(f"--image-ids {path}: cannot be read ({error.strerror})") from None
    except (KeyError, TypeError, ValueError):
        raise InvalidOptions(
            f"--image-ids {path}: no COCO file, which has `images` with `id` and `file_name`"
        ) from None
    known: dict[str, int | str] = {}
    owners: dict[int | str, str] = {}
    for name, number in entries:
        if not _is_id(number):
            raise InvalidOptions(
                f"--image-ids {path}: the `id` of {name} is neither a number nor a text that results can carry, "
                f"which are whole and of 64 bits: {number!r}"
            )
        if known.setdefault(name, number) != number:
            raise InvalidOptions(
                f"--image-ids {path}: {name} has two ids, {known[name]} and {number}: leave one of them"
            )
        if (owner := owners.setdefault(number, name)) != name:
            raise InvalidOptions(f"--image-ids {path}: {owner} and {name} both have the id {number}: give each its own")
    return known


def _is_id(number: object) -> bool:
    if isinstance(number, str):
        return number == legible(number)
    return isinstance(number, int) and not isinstance(number, bool) and number in _IDS
