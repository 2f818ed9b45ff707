"""Part classes of one's own: a taxonomy as recipes, model cards and archives say it, read and written."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from parsing_rcnn.taxonomy import CIHP, DENSEPOSE, DENSEPOSE_COARSE, MHP, Taxonomy

BUILT_IN = {taxonomy.name: taxonomy for taxonomy in (CIHP, MHP)}
"""Those that weights may have by their name alone."""
MOST_CLASSES = 128
"""The background included: what draws videos marks outlines in the highest bit of a label."""
_TAKEN = {*BUILT_IN, DENSEPOSE.name, DENSEPOSE_COARSE.name}
_KEYS = ("name", "classes", "colours", "pairs")
_LONGEST = 60  # letters of a class's name
# what a left one has in its name -> what its mirror has there; the first that leads to another class holds
_SIDES = (
    (r"(?i:(?<![a-z])left(?![a-z]))", "right"),  # Left arm, arm_left
    (r"(?<![A-Z])Left(?![a-z])|(?<![A-Za-z])left(?=[A-Z])", "right"),  # LeftArm, upperLeftArm, leftArm
    (r"(?i:left)", "right"),  # leftarm, armleft
    (r"(?i:(?<![a-z])l(?![a-z]))", "r"),  # L arm, arm.l
    (r"(?<![A-Za-z])L(?=[A-Z][a-z])|(?<=[a-z])L(?![A-Za-z])", "r"),  # LArm, armL
)
# a word that begins with a side; at the end of a word "right" may be that of bright
_SAYS_A_SIDE = r"(?i:(?<![a-z])(?:left|right))|(?:Left|Right)(?![a-z])|(?i:left(?![a-z]))"
# what COCO's files are called by, before _train2017.json and the like: training would take them for annotations of ours
_OF_COCO = {
    *("person", "person_keypoints", "instances", "captions", "stuff", "panoptic", "image", "image_info"),
    *("densepose_coco", "densepose_coco_2014"),
}
_EXAMPLE = "{name: workwear, classes: [Background, Helmet, Vest]}"


def read_taxonomy(said: object) -> Taxonomy:
    """A taxonomy by what a recipe, a card or an archive says of it.

    Args:
        said: the name of a built-in one, or an object of `name`, `classes` (names, the background first), and if need
            be `colours` ({class: "#rrggbb"}; others are chosen) and `pairs` ([left, right] of classes that a mirror
            exchanges; [] for none; without the key, those that are called alike but for left and right, or L and R).

    Raises:
        ValueError: it is none; the message names what is wrong, and what may be there.

    Example:
        >>> read_taxonomy({"name": "hands", "classes": ["Background", "Left hand", "Right hand"]}).mirror
        ((1, 2),)
    """
    if isinstance(said, str):
        if said not in BUILT_IN:
            raise ValueError(f"{said!r} is none of {', '.join(BUILT_IN)}, and no classes of your own, as in {_EXAMPLE}")
        return BUILT_IN[said]
    if not isinstance(said, Mapping):
        raise ValueError(f"{said!r} is none of {', '.join(BUILT_IN)}, and no classes of your own, as in {_EXAMPLE}")
    unknown = [str(key) for key in said if key not in _KEYS]
    if unknown:
        raise ValueError(f"{unknown[0]}: there is no such key; there are {', '.join(_KEYS)}")
    name, classes = _name(said.get("name")), _classes(said.get("classes"))
    given = _colours(said.get("colours") or {}, classes)
    pairs = said.get("pairs")
    mirror = _named_alike(classes) if pairs is None else _pairs(pairs, classes)
    palette = np.array(_palette(classes, given), np.uint8)
    return Taxonomy(name, classes, palette, mirror)


def write_taxonomy(taxonomy: Taxonomy) -> str | dict[str, Any]:
    """What `read_taxonomy` reads again: the name of a built-in one, JSON-compatible."""
    if BUILT_IN.get(taxonomy.name) == taxonomy:
        return taxonomy.name
    classes = taxonomy.classes
    return {
        "name": taxonomy.name,
        "classes": list(classes),
        "colours": {label: f"#{bytes(rgb).hex()}" for label, rgb in zip(classes, taxonomy.palette, strict=True)},
        "pairs": [[classes[left], classes[right]] for left, right in taxonomy.mirror],
    }


def _name(name: object) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", name):
        raise ValueError(f"name {name!r}: a word of up to 40 letters, digits, dots, dashes and underscores")
    if name.lower() in _TAKEN:
        raise ValueError(f"name {name}: this is a built-in taxonomy; take another name for classes of your own")
    if name.lower() in _OF_COCO:
        raise ValueError(
            f"name {name}: files {name}_*.json are COCO's, and would be taken for yours; take another name for classes "
            "of your own"
        )
    return name


def _classes(classes: Any) -> tuple[str, ...]:
    if not _is_list(classes) or not 2 <= len(classes) <= MOST_CLASSES:
        many = f"{len(classes)} of them" if _is_list(classes) else repr(classes)
        raise ValueError(f"classes: a list of 2 to {MOST_CLASSES} names, the background among them; here {many}")
    for label in classes:
        if not isinstance(label, str) or not label.isprintable() or not 1 <= len(label.strip()) == len(label):
            raise ValueError(f"classes: {label!r} is no name; put what YAML takes for a number or a truth in quotes")
        if len(label) > _LONGEST:
            raise ValueError(f"classes: {label[:_LONGEST]!r}... is longer than {_LONGEST} letters; shorten it")
    if classes[0].lower() != "background":
        raise ValueError(f"classes: class 0 is where nobody is, and {classes[0]!r} stands there; begin with Background")
    seen: set[str] = set()
    for label in classes:
        if label.lower() in seen:
            raise ValueError(f"classes: {label!r} is there twice; every name is that of one class")
        seen.add(label.lower())
    return tuple(classes)


def _colours(colours: object, classes: tuple[str, ...]) -> dict[str, tuple[int, int, int]]:
    if not isinstance(colours, Mapping):
        raise ValueError(f'colours {colours!r}: colours by class, as in {{{classes[1]}: "#ff8800"}}')
    found: dict[str, tuple[int, int, int]] = {}
    for label, colour in colours.items():
        if label not in classes:
            raise ValueError(f"colours: {label!r} is none of the classes {', '.join(classes)}")
        if not isinstance(colour, str) or not re.fullmatch("#[0-9a-fA-F]{6}", colour):
            raise ValueError(f'colours: {label}: {colour!r} is no colour; write it in quotes, as "#ff8800"')
        red, green, blue = bytes.fromhex(colour[1:])
        if label == classes[0] and (red or green or blue):
            raise ValueError(f"colours: {label}: the background is black; leave its colour out")
        same = next((other for other, rgb in found.items() if rgb == (red, green, blue)), None)
        if label != classes[0] and not (red or green or blue):
            same = classes[0]  # whether its colour is given or not
        if same is not None:
            raise ValueError(f"colours: {label}: {colour} is the colour of {same}; every class has one of its own")
        found[label] = (red, green, blue)
    return found


def _pairs(pairs: Any, classes: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    if not _is_list(pairs):
        raise ValueError(f"pairs {pairs!r}: a list of [left, right] names of classes; [] for none")
    found: list[tuple[int, int]] = []
    for pair in pairs:
        if not _is_list(pair) or len(pair) != 2 or any(label not in classes[1:] for label in pair):
            raise ValueError(f"pairs: {pair!r} is no [left, right] of the classes {', '.join(classes[1:])}")
        left, right = (classes.index(label) for label in pair)
        if left == right or {left, right} & {label for other in found for label in other}:
            raise ValueError(f"pairs: {pair!r}: a class has one other one, once, that a mirror shows in its place")
        found.append((left, right))
    return tuple(found)


def _named_alike(classes: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """(left, right) of classes that are called alike but for the side.

    Raises:
        ValueError: a name has a side, and no other name is its mirror.
    """
    rows = {label.lower(): row for row, label in enumerate(classes)}
    found: dict[int, int] = {}
    paired: set[int] = set()
    for left, label in enumerate(classes):
        others = [rows.get(re.sub(pattern, side, label).lower(), left) for pattern, side in _SIDES]
        right = next((row for row in others if row not in {left, *paired}), None)
        if right is not None and left not in paired:
            found[left] = right
            paired |= {left, right}
    for row, label in enumerate(classes):
        sides = {side.lower() for side in re.findall(_SAYS_A_SIDE, label)}
        if len(sides) == 1 and row not in paired:  # both: it is its own mirror
            raise ValueError(
                f"classes: {label!r} is of one side, and no class is called the same but for the other side; name the "
                f"pairs that a mirror exchanges, as in pairs: [[{label}, its other side]], or pairs: [] if none are"
            )
    return tuple(found.items())


def _palette(classes: tuple[str, ...], given: Mapping[str, tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Colours of all classes: MHP's, which are far from each other, and then others, without those that are given."""
    taken = {(0, 0, 0), *given.values()}
    chosen = (colour for colour in _far_apart() if colour not in taken)
    return [(0, 0, 0), *(given[label] if label in given else next(chosen) for label in classes[1:])]


def _far_apart() -> Iterable[tuple[int, int, int]]:
    for red, green, blue in MHP.palette[1:].tolist():
        yield red, green, blue
    for step in range(4 * MOST_CLASSES):  # the golden angle: each hue between two that were there before
        hue, value = step * 0.618034 % 1.0, (0.95, 0.7, 0.5)[step % 3]
        red, green, blue = (round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, 0.75, value))
        yield red, green, blue


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
