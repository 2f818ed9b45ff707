"""Clothes cut at random from the body's helper surfaces: no two outfits are the same, and none runs out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.synthetic import fabrics
from training.data.synthetic.body import Body
from training.data.synthetic.charts import HEAD, Atlas, regions, split_into_parts
from training.data.synthetic.surface import Surface, vertex_normals
from training.data.synthetic.wardrobe import CLASS, LEFT_PARTS, Layer

_OFF = -0.2  # coordinate along a limb of what is not on it
_MARGIN = 0.02  # metres inside the hem from where the skin under a garment is left out
Field = NDArray[np.float32]


@dataclass(frozen=True)
class Sheet:
    """A helper surface, cut into parts.

    Attributes:
        surface: over the base vertices; part: uint8 [f]; chart: float32 [f,3,2].
    """

    surface: Surface
    part: NDArray[np.uint8]
    chart: NDArray[np.float32]


@dataclass(frozen=True)
class Garment:
    """One cut garment.

    Attributes:
        sheet: its faces; category: uint8 [f].
        offset: float32 [v] metres outwards from the helper surface; uv: float32 [f,3,2].
        texture: RGBA; covers: bool [19158], base vertices under it.
    """

    sheet: Sheet
    category: NDArray[np.uint8]
    offset: NDArray[np.float32]
    uv: NDArray[np.float32]
    texture: fabrics.Texture
    covers: NDArray[np.bool_]

    def layer(self, posed: NDArray[np.float32]) -> Layer:
        """On a body whose base vertices are posed, float32 [19158,3]."""
        surface = self.sheet.surface
        points = np.asarray(surface.points @ posed, np.float32)
        points += vertex_normals(points, surface.faces) * self.offset[:, None]
        return Layer(points, surface.faces, self.uv, self.category, self.sheet.part, self.sheet.chart, self.texture)


class Tailor:
    """Cuts garments for any body: all lengths are metres on the template."""

    def __init__(self, body: Body, atlas: Atlas) -> None:
        self.body, self.atlas = body, atlas
        self.points = body.template
        self.tights = self._sheet(body.tights)
        self.skirt = self._sheet(body.skirt)
        self.skin = Sheet(atlas.surface, atlas.part, atlas.chart)
        self.arm = self._along("upperarm01", "lowerarm01", "wrist")
        self.leg = self._along("upperleg01", "lowerleg01", "foot")
        weights = atlas.fields.weights
        names = regions()
        self.on_arm = weights[:, [names.index(f"{n}.{s}") for n in ("upperarm", "lowerarm", "hand") for s in "LR"]].sum(
            1
        )
        self.on_hand = weights[:, [names.index(f"hand.{s}") for s in "LR"]].sum(1)
        self.on_head = weights[:, HEAD]
        self.neck = body.heads[body.bone("neck01")]
        self.hip = float(body.heads[body.bone("upperleg01.L")][2])
        self.ankle = float(self.leg[self.tights_vertices()].max())
        self.wrist = float(self.arm[self.tights_vertices()].max())
        self.front = atlas.fields.fronts[:, 0]

    def tights_vertices(self) -> NDArray[np.int64]:
        """Base vertices of the tights."""
        return np.unique(self.body.tights)

    def _sheet(self, faces: NDArray[np.int32]) -> Sheet:
        surface, part, _ = split_into_parts(faces, self.atlas.fields)
        points = np.asarray(surface.points @ self.body.template, np.float32)
        return Sheet(surface, part, self.atlas.corner_charts(points, surface.faces, part))

    def _along(self, first: str, middle: str, last: str) -> Field:
        """float32 [19158]: metres from the first joint along a limb; `_OFF` off the limb."""
        out = np.full(len(self.points), _OFF, np.float32)
        kinds = {"upperarm01": ("upperarm", "lowerarm", "hand"), "upperleg01": ("upperleg", "lowerleg", "foot")}[first]
        for side in "LR":
            a, b, c = (self.body.heads[self.body.bone(f"{name}.{side}")] for name in (first, middle, last))
            upper, lower = np.linalg.norm(b - a), np.linalg.norm(c - b)
            on_upper = (self.points - a) @ (b - a) / upper
            on_lower = (self.points - b) @ (c - b) / lower
            distance = np.where(on_lower > 0, upper + on_lower, np.minimum(on_upper, upper))
            columns = [regions().index(f"{kind}.{side}") for kind in kinds]
            own = self.atlas.fields.weights[:, columns].sum(1) > 0.02
            out[own] = distance[own]
        return out

    # what is cut away: a field is positive where cloth stays

    def below(self, height: float) -> Field:
        """Everything lower than a height, arms excepted."""
        return np.where(self.on_arm > 0.3, np.float32(_OFF), np.float32(height) - self.points[:, 2]).astype(np.float32)

    def above(self, height: float) -> Field:
        """Everything higher than a height, and the arms."""
        return np.where(self.on_arm > 0.3, np.float32(-_OFF), self.points[:, 2] - np.float32(height)).astype(np.float32)

    def neckline(self, width: float, front: float, back: float, collar: float, pointed: bool) -> Field:
        """Outside a hole around the neck, `front` and `back` deep, and not above the collar."""
        x, z = np.abs(self.points[:, 0]), self.points[:, 2]
        top = self.neck[2] + collar - z
        if width <= 0:
            return np.asarray(top, np.float32)
        deep = np.maximum(self.neck[2] - z, 0) / np.where(self.front > 0, front, back)
        hole = (x / width + deep if pointed else np.hypot(x / width, deep)) - 1
        return np.asarray(np.minimum(top, hole * width), np.float32)

    def cut(
        self,
        sheet: Sheet,
        fields: list[Field],
        category: str | tuple[str, str],
        texture: fabrics.Texture,
        rng: np.random.Generator,
        *,
        thickness: float,
        flare: Field | None = None,
        tiles: float = 2.0,
        wrinkles: float = 0.002,
    ) -> Garment | None:
        """Cut a garment; None when nothing is left of it.

        Args:
            fields: each float32 [19158], positive where cloth stays.
            category: CIHP class, or the classes of the left and right side.
            flare: float32 [19158], more metres outwards.
            tiles: repeats of the texture a metre; wrinkles: amplitude in metres.
        """
        whole = sheet
        for field in fields:
            cut = sheet.surface.cut(sheet.surface.points @ field)
            keep = cut.above
            if not keep.any():
                return None
            chart = cut.carry(sheet.chart)
            sheet = Sheet(cut.surface.select(keep), sheet.part[cut.origin][keep], chart[keep])
        at = sheet.surface.points
        points = np.asarray(at @ self.points, np.float32)
        offset = np.full(len(points), thickness, np.float32) + _waves(points, rng, wrinkles)
        if flare is not None:
            offset += at @ flare
        turn = rng.uniform(-0.15, 0.15)
        flat = np.stack([points[:, 0] + turn * points[:, 2], points[:, 2] - turn * points[:, 0]], 1)
        flat[:, 0] += 0.7 * points[:, 1]
        uv = flat[sheet.surface.faces] * np.float32(tiles) + np.float32(10)  # never negative: sampling wraps
        if isinstance(category, tuple):
            left = np.isin(sheet.part, LEFT_PARTS)
            classes = np.where(left, CLASS[category[0]], CLASS[category[1]]).astype(np.uint8)
        else:
            classes = np.full(len(sheet.part), CLASS[category])
        covers = np.min(fields, axis=0) > _MARGIN if fields else np.ones(len(self.points), bool)
        if whole is self.tights:  # they end before the hand, however long a sleeve is asked for
            covers &= self.arm < self.wrist - _MARGIN
        return Garment(sheet, classes, offset.clip(0.001), uv.astype(np.float32), texture, covers)


def _waves(points: NDArray[np.float32], rng: np.random.Generator, amplitude: float) -> NDArray[np.float32]:
    """Folds: a few random waves, 7 to 25 cm long."""
    total = np.zeros(len(points), np.float32)
    for _ in range(5):
        direction = rng.normal(0, 1, 3)
        direction *= 2 * np.pi / rng.uniform(0.07, 0.25) / np.linalg.norm(direction)
        total += np.sin(points @ direction.astype(np.float32) + np.float32(rng.uniform(0, 6.28)))
    return total * np.float32(amplitude)
