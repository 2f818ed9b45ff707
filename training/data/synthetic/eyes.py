"""Eyeballs: the base mesh has them, and a texture of their own gives them irises."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.data.synthetic import fabrics
from training.data.synthetic.charts import Atlas
from training.data.synthetic.wardrobe import Layer

VERTICES = (slice(14598, 14670), slice(14670, 14742))  # of the base mesh: helper-l-eye, helper-r-eye


class Eyes:
    """Both eyeballs, ready for any body.

    Attributes:
        faces: bool [f], the faces of the skin that are theirs.
    """

    def __init__(
        self,
        template: NDArray[np.float32],
        skin: NDArray[np.int32],
        atlas: Atlas,
        category: NDArray[np.uint8],
        fronts: dict[str, NDArray[np.uint8]],
    ) -> None:
        """From the base mesh at rest, [19158,3], and its skin's faces, which the atlas cuts and `category` [f] names.

        Args:
            fronts: name -> uint8 [64,64,3], the front of an eyeball; none: drawn ones.
        """
        corner = skin[atlas.surface.parent, 0]
        self.faces = np.any([(corner >= eye.start) & (corner < eye.stop) for eye in VERTICES], axis=0)
        self._surface = atlas.surface.select(self.faces)
        self._uv = np.empty((len(self._surface.faces), 3, 2), np.float32)
        self._category, self._part, self._chart = category[self.faces], atlas.part[self.faces], atlas.chart[self.faces]
        self._fronts = fronts or fabrics.drawn_eyes()
        points = np.asarray(self._surface.points @ template)[self._surface.faces][..., [0, 2]]
        for eye in VERTICES:  # seen from the front, the texture fills each of them
            low, high = template[eye, 0::2].min(0), template[eye, 0::2].max(0)
            own = points[:, 0, 0] * low[0] > 0  # on the same side of the nose
            self._uv[own] = ((points[own] - low) / (high - low)).clip(0.001, 0.999)

    def layer(self, rng: np.random.Generator, posed: NDArray[np.float32], tone: str) -> Layer:
        """Eyes that look straight ahead, on a posed base mesh [19158,3], in a colour for this tone of skin."""
        return Layer(
            np.asarray(self._surface.points @ posed, np.float32),
            self._surface.faces,
            self._uv,
            self._category,
            self._part,
            self._chart,
            fabrics.eye(self._fronts, tone, rng),
            closed=True,
        )
