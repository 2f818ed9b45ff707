"""Pictures by number: picture k of a seed is always the same, on any machine and with any number of processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.sources import read_jpeg
from training.data.splits import asset_split
from training.data.synthetic.assets import Assets
from training.data.synthetic.body import load_body, load_shapes
from training.data.synthetic.charts import build_atlas
from training.data.synthetic.outfits import Wardrobe
from training.data.synthetic.scene import Cast, Rendered, draw_scene
from training.data.synthetic.skeleton import Poser
from training.errors import DatasetError

SHAPES = 256


@dataclass(frozen=True)
class Source:
    """What to draw from.

    Attributes:
        assets: a folder of MakeHuman assets (None: without); cache: where baked bodies and surfaces are kept.
        backgrounds: JPEG pictures without people.
        sizes: (height, width) of pictures, drawn with equal chances.
        seed: of bodies, outfits, poses, everything.
        held_out: draw skins and pose files that training does not draw, and bodies of a seed that it cannot have.
    """

    assets: Path | None
    cache: Path
    backgrounds: tuple[Path, ...]
    sizes: tuple[tuple[int, int], ...]
    seed: int
    held_out: bool = False


class Generator:
    """Renders pictures of a source. Building one takes a few seconds, a picture about a tenth of one."""

    def __init__(self, source: Source) -> None:
        if not source.backgrounds:
            raise DatasetError("no background pictures: point --backgrounds at a folder of JPEGs without people")
        self.source = source
        body = load_body()
        assets = Assets.none() if source.assets is None else Assets.open(source.assets)
        side = 1 if source.held_out else 0
        self.skins = tuple(asset_split(assets.skins)[side])
        poses = {name: assets.poses[name] for name in asset_split(assets.poses)[side]}
        shapes = load_shapes(source.cache, self.seed, SHAPES)  # first, as it may refuse the cache
        wardrobe = Wardrobe(body, build_atlas(body), assets)
        self.cast = Cast(body, shapes, wardrobe, Poser(body, poses))

    @property
    def seed(self) -> int:
        """Even for training, odd for tests: whatever seeds are asked for, the two never meet."""
        return 2 * self.source.seed + self.source.held_out

    def picture(self, index: int, count: int | None = None) -> Rendered:
        """Picture number `index`, with `count` people (None: 1..6 by chance)."""
        rng = np.random.default_rng([self.seed, index])
        size = self.source.sizes[int(rng.integers(len(self.source.sizes)))]
        path = self.source.backgrounds[int(rng.integers(len(self.source.backgrounds)))]
        return draw_scene(rng, self.cast, background(read_jpeg(path), size, rng), self.skins, count)


def background(image: NDArray[np.uint8], size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A random piece of a picture in another size (height, width), mirrored half of the time."""
    height, width = image.shape[:2]
    scale = min(height / size[0], width / size[1]) * rng.uniform(0.55, 1.0)
    own = (max(8, int(size[0] * scale)), max(8, int(size[1] * scale)))
    top, left = int(rng.integers(height - own[0] + 1)), int(rng.integers(width - own[1] + 1))
    piece = image[top : top + own[0], left : left + own[1]]
    if rng.random() < 0.5:
        piece = piece[:, ::-1]
    kind = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(piece), size[::-1], interpolation=kind), np.uint8)
