"""Cut-outs of rendered people, for scenes that check an export.

They are kept in people.webp beside this module, so that a check needs no renderer; `python -m export.rendered.cutouts`
makes the file again.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

PEOPLE = Path(__file__).with_name("people.webp")
COUNT = 12
HEIGHT = 384  # pixels, of each person from head to foot
_GAP = 4  # empty columns between two people
_CANVAS = (1024, 768)
_GREY = 128
_UPRIGHT = ("stand", "walk", "reach", "hands")


def load_people() -> list[NDArray[np.uint8]]:
    """The people of people.webp: uint8 [384,w,4] RGBA each."""
    sheet = cv2.imread(str(PEOPLE), cv2.IMREAD_UNCHANGED)
    if sheet is None:
        raise FileNotFoundError(f"{PEOPLE}: not there or no picture; python -m export.rendered.cutouts makes it again")
    people = np.asarray(cv2.cvtColor(sheet, cv2.COLOR_BGRA2RGBA), np.uint8)
    shown = np.concatenate([[False], (people[..., 3] > 0).any(0), [False]])
    edges = np.flatnonzero(shown[1:] != shown[:-1])
    return [people[:, left:right] for left, right in edges.reshape(-1, 2)]


def cut_people() -> list[NDArray[np.uint8]]:
    """Render upright people, wholly in their picture, without assets: uint8 [384,w,4] RGBA each."""
    from training.data.synthetic.assets import Assets
    from training.data.synthetic.body import load_body, load_shapes
    from training.data.synthetic.charts import build_atlas
    from training.data.synthetic.outfits import Wardrobe
    from training.data.synthetic.scene import Cast, draw_scene
    from training.data.synthetic.skeleton import Poser

    body = load_body()
    with tempfile.TemporaryDirectory() as cache:
        shapes = load_shapes(Path(cache), 0, COUNT)
    cast = Cast(body, shapes, Wardrobe(body, build_atlas(body), Assets.none()), Poser(body, {}))
    people: list[NDArray[np.uint8]] = []
    number = 0
    while len(people) < COUNT:
        scene = draw_scene(np.random.default_rng([0, number]), cast, np.full((*_CANVAS, 3), _GREY, np.uint8), (), 1)
        number += 1
        if scene.people[0]["style"] in _UPRIGHT and (cut := _cut(scene.image, scene.instance > 0)) is not None:
            people.append(cut)
    return people


def _cut(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8] | None:
    """The person of a mask; None where they are not wholly in the picture, or too small to be sharp."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    inside = left > 0 and top > 0 and left + width < mask.shape[1] and top + height < mask.shape[0]
    if not inside or height < HEIGHT:
        return None
    box = np.s_[top : top + height, left : left + width]
    size = (round(width * HEIGHT / height), HEIGHT)
    alpha = cv2.resize(mask[box].astype(np.float32), size, interpolation=cv2.INTER_AREA)[..., None]
    colour = cv2.resize(image[box].astype(np.float32) * mask[box][..., None], size, interpolation=cv2.INTER_AREA)
    colour = np.where(alpha > 0, colour / np.maximum(alpha, 1e-6), 0)
    return np.round(np.dstack([colour.clip(0, 255), alpha * 255])).astype(np.uint8)


def main() -> None:
    """Write people.webp."""
    gap = np.zeros((HEIGHT, _GAP, 4), np.uint8)
    sheet = np.hstack([part for person in cut_people() for part in (person, gap)])
    cv2.imwrite(str(PEOPLE), cv2.cvtColor(sheet, cv2.COLOR_RGBA2BGRA), [cv2.IMWRITE_WEBP_QUALITY, 85])


if __name__ == "__main__":
    main()
