"""Hats sit on the hair, however much of it there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from parsing_rcnn.taxonomy import CIHP
from training.data.synthetic import scene
from training.data.synthetic.assets import Assets, ObjMesh, Proxy, to_makehuman
from training.data.synthetic.body import Body
from training.data.synthetic.charts import Atlas
from training.data.synthetic.generator import Generator
from training.data.synthetic.outfits import Outfit, Wardrobe
from training.data.synthetic.scene import Rendered
from training.data.synthetic.shading import Camera
from training.data.synthetic.surface import vertex_normals

HAT, HAIR = CIHP.classes.index("Hat"), CIHP.classes.index("Hair")


def shell(body: Body, name: str, lowest: float, thickness: float) -> Proxy:
    """What stands off the head like a helmet, down to `lowest` metres below the crown."""
    crown = body.template[body.faces, 2].max()
    faces = body.faces[(body.template[body.faces, 2] > crown - lowest).all(1)]
    used, faces = np.unique(faces, return_inverse=True)
    faces = faces.reshape(-1, 3).astype(np.int32)
    own = body.template[used]
    offsets = to_makehuman(vertex_normals(own, faces) * np.float32(thickness))
    at = to_makehuman(own)
    ends = [(int(used[axis.argmin()]), int(used[axis.argmax()]), float(np.ptp(axis))) for axis in at.T]
    return Proxy(
        name,
        np.repeat(used[:, None], 3, 1).astype(np.int32),
        np.tile(np.float32([1, 0, 0]), (len(used), 1)),
        offsets,
        tuple(ends),
        np.zeros(0, np.int32),
        ObjMesh(own, np.zeros((1, 2), np.float32), faces, np.zeros_like(faces)),
        np.full((8, 8, 4), 255, np.uint8),
    )


@pytest.fixture(scope="module")
def wardrobe(body: Body, atlas: Atlas) -> Wardrobe:
    hat, hair = shell(body, "fedora", 0.08, 0.012), shell(body, "bob", 0.18, 0.045)
    return Wardrobe(body, atlas, replace(Assets.none(), hats={"fedora": hat}, hair={"bob": hair}))


@pytest.fixture
def head(
    generator: Generator, wardrobe: Wardrobe, monkeypatch: pytest.MonkeyPatch
) -> Callable[[float, tuple[float, float]], Rendered]:
    """A standing person with that hair and the hat that `_extras` draws between two chances."""

    def camera(_: object, height: int, width: int) -> tuple[Camera, float]:
        axes = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], np.float32)
        return Camera(np.array([0, -4, 1.0], np.float32), axes, 1.7 * height, width, height), 4.0

    def picture(yaw: float, chances: tuple[float, float]) -> Rendered:
        seed = next(k for k in range(999) if chances[0] <= np.random.default_rng(k).random() < chances[1])

        def dress(*_: object) -> Outfit:
            count = len(wardrobe.body.template)
            outfit = Outfit(covers=np.zeros(count, bool), bulk=np.zeros(count, np.float32), description=["bare"])
            wardrobe._extras(np.random.default_rng(seed), outfit, True)
            return outfit

        monkeypatch.setattr(wardrobe, "dress", dress, raising=False)
        monkeypatch.setattr(scene, "draw_camera", camera)
        monkeypatch.setattr(scene, "_draw_yaw", lambda _: yaw)
        monkeypatch.setattr(scene, "_places", lambda *_: [(0.0, 0.0)])
        poser = generator.cast.poser
        monkeypatch.setattr(poser, "styles", {"stand": (1.0, poser.styles["stand"][1])}, raising=False)
        cast = replace(generator.cast, wardrobe=wardrobe)
        return scene.draw_scene(np.random.default_rng(0), cast, np.full((512, 384, 3), 90, np.uint8), (), 1)

    return picture


@pytest.mark.parametrize("yaw", [0.0, 90.0, 180.0])
@pytest.mark.parametrize("chances", [(0.0, 0.06), (0.06, 0.14)], ids=["fedora", "cap"])
def test_no_hair_comes_through_a_hat(head, yaw: float, chances: tuple[float, float]) -> None:  # type: ignore[no-untyped-def]
    category = head(yaw, chances).category
    hat, hair = category == HAT, category == HAIR
    assert hat.sum() > 150
    hat_below = hat[::-1].cumsum(0)[::-1] > 0
    assert (hair & hat_below).sum() < 0.05 * hat.sum()
    assert (hair & ~hat_below).sum() > 100  # and below it, there is the hair


def test_without_a_hat_hair_stays_as_it_is(head) -> None:  # type: ignore[no-untyped-def]
    category = head(180.0, (0.14, 1.0)).category
    rows = np.nonzero((category == HAIR).any(1))[0]
    assert rows[0] == np.nonzero(category.any(1))[0][0]
    assert (category == HAIR).sum() > 600
