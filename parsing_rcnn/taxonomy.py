"""Label spaces: names, colours and left/right pairs of every set of body and clothing parts."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NAMES = ("CIHP", "MHP", "DENSEPOSE", "DENSEPOSE_COARSE")  # of the taxonomies in this module


@dataclass(frozen=True, eq=False)
class Taxonomy:
    """A set of part classes. Class 0 is always the background.

    Attributes:
        name: short and stable, for example "cihp".
        classes: human readable names, index = class id.
        palette: uint8 [n,3] RGB, read-only; the background is black.
        mirror: (left, right) class ids that a horizontal flip exchanges.
    """

    name: str
    classes: tuple[str, ...]
    palette: NDArray[np.uint8]
    mirror: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        palette = np.array(self.palette, dtype=np.uint8)
        if palette.shape != (len(self.classes), 3):
            raise ValueError(f"palette of {self.name}: shape {palette.shape}, expected ({len(self.classes)}, 3)")
        palette.flags.writeable = False
        object.__setattr__(self, "palette", palette)

    def __len__(self) -> int:
        return len(self.classes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Taxonomy):
            return NotImplemented
        same = (self.name, self.classes, self.mirror) == (other.name, other.classes, other.mirror)
        return self is other or (same and bool((self.palette == other.palette).all()))

    def __hash__(self) -> int:
        return hash((self.name, self.classes))

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Those of this module stay themselves when they are copied or pickled: the name is enough."""
        named = next((name for name in _NAMES if globals().get(name) is self), None)
        return named or (Taxonomy, (self.name, self.classes, self.palette, self.mirror))

    def flip_table(self) -> NDArray[np.uint8]:
        """Class ids after a horizontal flip.

        Returns:
            uint8 [n]: `flipped_labels = table[labels[:, ::-1]]`.

        Example:
            >>> CIHP.flip_table()[14:16].tolist()
            [15, 14]
        """
        table = np.arange(len(self.classes), dtype=np.uint8)
        for left, right in self.mirror:
            table[left], table[right] = right, left
        return table


def _hex_palette(colours: str) -> NDArray[np.uint8]:
    return np.array([list(bytes.fromhex(c)) for c in colours.split()], dtype=np.uint8)


# Hue, saturation, value of each body region on the right side; the left side has the opposite hue.
_REGION_TONES = {
    "torso": (0.76, 0.55, 0.95),
    "head": (0.14, 0.65, 1.00),
    "hand": (0.87, 0.55, 1.00),
    "lower arm": (0.92, 0.85, 0.92),
    "upper arm": (0.97, 0.50, 1.00),
    "upper leg": (0.01, 0.85, 0.88),
    "lower leg": (0.06, 0.70, 1.00),
    "foot": (0.10, 0.90, 0.75),
}


def _limb_palette(classes: tuple[str, ...]) -> NDArray[np.uint8]:
    """Warm colours on the right side of the body, cool ones on the left; the second chart of a limb is darker."""
    rows = [(0.0, 0.0, 0.0)]
    seen: set[str] = set()
    for label in classes[1:]:
        limb = label.lower().split(" (")[0]
        hue, saturation, value = next(tone for region, tone in _REGION_TONES.items() if region in limb)
        if limb.startswith("left"):
            hue = (hue + 0.5) % 1.0
        rows.append(colorsys.hsv_to_rgb(hue, saturation, value * (0.72 if limb in seen else 1.0)))
        seen.add(limb)
    return np.round(np.array(rows) * 255).astype(np.uint8)


_CIHP_CLASSES = (
    "Background", "Hat", "Hair", "Gloves", "Sunglasses", "UpperClothes", "Dress", "Coat", "Socks", "Pants",
    "Torso-skin", "Scarf", "Skirt", "Face", "Left-arm", "Right-arm", "Left-leg", "Right-leg", "Left-shoe",
    "Right-shoe",
)  # fmt: skip

_CIHP_COLOURS = (
    "000000 800000 ff0000 005500 aa0033 ff5500 000055 0077dd 555500 005555 "
    "553300 345680 008000 0000ff 33aadd 00ffff 55ffaa aaff55 ffff00 ffaa00"
)

_MHP_CLASSES = (
    "Background", "Cap/Hat", "Helmet", "Face", "Hair", "Left-arm", "Right-arm", "Left-hand", "Right-hand",
    "Protector", "Bikini/bra", "Jacket/Windbreaker/Hoodie", "T-shirt", "Polo-shirt", "Sweater", "Singlet",
    "Torso-skin", "Pants", "Shorts/Swim-shorts", "Skirt", "Stockings", "Socks", "Left-boot", "Right-boot",
    "Left-shoe", "Right-shoe", "Left-highheel", "Right-highheel", "Left-sandal", "Right-sandal", "Left-leg",
    "Right-leg", "Left-foot", "Right-foot", "Coat", "Dress", "Robe", "Jumpsuits", "Other-full-body-clothes",
    "Headwear", "Backpack", "Ball", "Bats", "Belt", "Bottle", "Carrybag", "Cases", "Sunglasses", "Eyewear",
    "Gloves", "Scarf", "Umbrella", "Wallet/Purse", "Watch", "Wristband", "Tie", "Other-accessaries",
    "Other-upper-body-clothes", "Other-lower-body-clothes",
)  # fmt: skip

# Each colour is the farthest in CIE Lab from those before it, of all whose channels are multiples of 17, without greys
# (chroma below 15) and what is nearly black (lightness below 25). The test of this module picks them again.
_MHP_COLOURS = (
    "000000 00ff00 0000ff ff0000 00ffff ff99ee ffdd66 006600 003399 aa5544 ff11ff 6688aa "
    "ff0077 88ff99 ffddcc 770055 ddff00 ff8800 776600 005544 8855ff 8899ff 88aa77 88aa00 "
    "dd11aa 00bb22 664455 ddccff ff5555 ffaa77 ff99aa 00ccff 770099 eeffbb aadddd 00bb88 "
    "990000 775599 554422 aa1144 004477 ddff77 00aaaa aa5500 aa00ff aa8877 dd77ff 99ff44 "
    "dd5599 99ffcc ffdd00 00ff77 0077ff cc9900 2211cc bb88aa 11aaff 55aa44 bbaa55"
)

# Front and back (or inner and outer) halves of one limb are two charts; the order is DensePose's own.
_DENSEPOSE_CLASSES = (
    "Background", "Torso (back)", "Torso (front)", "Right-hand", "Left-hand", "Left-foot", "Right-foot",
    "Right-upper leg (1)", "Left-upper leg (1)", "Right-upper leg (2)", "Left-upper leg (2)",
    "Right-lower leg (1)", "Left-lower leg (1)", "Right-lower leg (2)", "Left-lower leg (2)",
    "Left-upper arm (1)", "Right-upper arm (1)", "Left-upper arm (2)", "Right-upper arm (2)",
    "Left-lower arm (1)", "Right-lower arm (1)", "Left-lower arm (2)", "Right-lower arm (2)",
    "Right-head", "Left-head",
)  # fmt: skip

_COARSE_CLASSES = (
    "Background", "Torso", "Right-hand", "Left-hand", "Left-foot", "Right-foot", "Right-upper leg",
    "Left-upper leg", "Right-lower leg", "Left-lower leg", "Left-upper arm", "Right-upper arm",
    "Left-lower arm", "Right-lower arm", "Head",
)  # fmt: skip

CIHP = Taxonomy("cihp", _CIHP_CLASSES, _hex_palette(_CIHP_COLOURS), ((14, 15), (16, 17), (18, 19)))

MHP = Taxonomy(
    "mhp",
    _MHP_CLASSES,
    _hex_palette(_MHP_COLOURS),
    ((5, 6), (7, 8), (22, 23), (24, 25), (26, 27), (28, 29), (30, 31), (32, 33)),
)

DENSEPOSE = Taxonomy(
    "densepose",
    _DENSEPOSE_CLASSES,
    _limb_palette(_DENSEPOSE_CLASSES),
    ((4, 3), (5, 6), (8, 7), (10, 9), (12, 11), (14, 13), (15, 16), (17, 18), (19, 20), (21, 22), (24, 23)),
)
"""24 fine parts: the index I of an IUV map."""

DENSEPOSE_COARSE = Taxonomy(
    "densepose-coarse",
    _COARSE_CLASSES,
    _limb_palette(_COARSE_CLASSES),
    ((3, 2), (4, 5), (7, 6), (9, 8), (10, 11), (12, 13)),
)
"""14 body regions: what the annotators of DensePose-COCO painted."""

COARSE_OF_PART: NDArray[np.uint8] = np.array(
    [0, 1, 1, 2, 3, 4, 5, 6, 7, 6, 7, 8, 9, 8, 9, 10, 11, 10, 11, 12, 13, 12, 13, 14, 14], np.uint8
)
"""Region (of `DENSEPOSE_COARSE`) of each part (of `DENSEPOSE`), uint8 [25], read-only."""
COARSE_OF_PART.flags.writeable = False
