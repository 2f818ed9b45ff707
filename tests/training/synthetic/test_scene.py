"""Rendered people, through the front door: pictures whose labels must agree with what can be seen."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest

from parsing_rcnn.taxonomy import CIHP, COARSE_OF_PART
from training.data.iuv import MIRRORED, mirror_values, possible_parts
from training.data.synthetic import fabrics, scene
from training.data.synthetic.generator import Generator
from training.data.synthetic.outfits import Outfit
from training.data.synthetic.raster import Hits
from training.data.synthetic.scene import Rendered, draw_scene
from training.data.synthetic.shading import Camera

CLASS = {name: index for index, name in enumerate(CIHP.classes)}
BACKDROP = np.full((256, 192, 3), 90, np.uint8)


@pytest.fixture
def render(generator: Generator, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """A standing person before a camera that sees all of him or her, turned by `yaw` degrees."""

    def camera(_: object, height: int, width: int) -> tuple[Camera, float]:
        axes = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], np.float32)
        return Camera(np.array([0, -4, 1.0], np.float32), axes, 1.7 * height, width, height), 4.0

    def picture(yaw: float, style: str = "stand", seed: int = 0, backdrop: np.ndarray = BACKDROP) -> Rendered:
        monkeypatch.setattr(scene, "draw_camera", camera)
        monkeypatch.setattr(scene, "_draw_yaw", lambda _: yaw)
        monkeypatch.setattr(scene, "_places", lambda *_: [(0.0, 0.0)])
        poser = generator.cast.poser
        monkeypatch.setattr(poser, "styles", {style: (1.0, poser.styles[style][1])}, raising=False)
        return draw_scene(np.random.default_rng(seed), generator.cast, backdrop, (), 1)

    return picture


def middle(mask: np.ndarray) -> float:
    """Mean column of a mask."""
    return float(np.nonzero(mask)[1].mean())


@pytest.mark.parametrize("seed", range(4))
def test_maps_agree_with_each_other(render, seed: int) -> None:  # type: ignore[no-untyped-def]
    rendered = render(20.0, seed=seed)
    person = rendered.instance > 0
    assert person.mean() > 0.05
    np.testing.assert_array_equal(rendered.category > 0, person)
    np.testing.assert_array_equal(rendered.iuv[..., 0] > 0, person)
    assert rendered.iuv[..., 0].max() <= 24
    # the class of every pixel may lie over the body part of that pixel
    allowed = possible_parts()[rendered.category, rendered.iuv[..., 0]]
    assert allowed[person].mean() > 0.97
    # the picture shows somebody exactly there
    changed = np.abs(rendered.image.astype(int) - 90).max(2) > 25
    assert (changed & ~cv2.dilate(person.astype(np.uint8), np.ones((5, 5))).astype(bool)).mean() < 0.1


def test_left_is_left_from_the_front_and_from_behind(render) -> None:  # type: ignore[no-untyped-def]
    for yaw, sign in ((0.0, 1), (180.0, -1)):
        rendered = render(yaw)
        region = COARSE_OF_PART[rendered.iuv[..., 0]]
        for left, right in ((10, 11), (7, 6), (9, 8)):  # upper arms, upper legs, lower legs
            assert (middle(region == left) > middle(region == right)) == (sign > 0)
        for name in ("arm", "leg", "shoe"):
            masks = [rendered.category == CLASS[f"{side}-{name}"] for side in ("Left", "Right")]
            if all(mask.sum() > 20 for mask in masks):
                assert (middle(masks[0]) > middle(masks[1])) == (sign > 0)


def test_the_front_shows_the_front(render) -> None:  # type: ignore[no-untyped-def]
    front, back = (np.bincount(render(yaw).iuv[..., 0].ravel(), minlength=25) for yaw in (0.0, 180.0))
    assert front[2] > 5 * front[1]
    assert back[1] > 5 * back[2]


def test_u_and_v_run_smoothly_over_the_trunk(render) -> None:  # type: ignore[no-untyped-def]
    rendered = render(0.0)
    part, uv = rendered.iuv[..., 0], rendered.iuv[..., 1:].astype(int)
    pairs = (part[1:] == part[:-1]) & (part[1:] == 2)
    steps = np.abs(uv[1:] - uv[:-1])[pairs]
    assert np.quantile(steps, 0.95) < 20  # of 255, a pixel of this picture is 1 cm
    # U from the neck to the hip, V from the subject's left (the picture's right) to the right
    rows, columns = np.nonzero(part == 2)
    assert np.corrcoef(uv[rows, columns, 0], rows)[0, 1] > 0.9
    assert np.corrcoef(uv[rows, columns, 1], columns)[0, 1] < -0.9


def test_skirts_are_skirts(render, generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    wardrobe = generator.cast.wardrobe

    def skirt(rng: np.random.Generator, woman: bool, child: bool = False) -> Outfit:
        count = len(wardrobe.body.template)
        outfit = Outfit(covers=np.zeros(count, bool), bulk=np.zeros(count, np.float32), description=["skirt"])
        wardrobe._skirt(rng, outfit, "Skirt", fabrics.fabric(rng))
        return outfit

    monkeypatch.setattr(wardrobe, "dress", skirt, raising=False)
    for seed in range(3):
        rendered = render(0.0, seed=seed)
        rows = np.nonzero(rendered.category == CLASS["Skirt"])[0]
        person = np.nonzero(rendered.instance)[0]
        height = person.max() - person.min()
        assert len(rows) > 300
        assert 0.3 < (np.median(rows) - person.min()) / height < 0.75
        assert not (rendered.category == CLASS["Pants"]).any()
        # one piece of cloth before both legs
        lap = rendered.category[int(np.quantile(rows, 0.4))] == CLASS["Skirt"]
        inside = np.flatnonzero(lap)
        hands = np.isin(rendered.category[int(np.quantile(rows, 0.4))], [CLASS["Left-arm"], CLASS["Right-arm"]])
        assert (lap | hands)[inside[0] : inside[-1] + 1].mean() > 0.9


def test_hands_are_joined_to_their_sleeves(generator: Generator) -> None:
    wardrobe, template = generator.cast.wardrobe, generator.cast.body.template
    tailor, surface = wardrobe.tailor, wardrobe.atlas.surface
    cloth_ends = np.asarray(surface.points @ tailor.arm)[surface.faces].min(1) > tailor.wrist
    naked = Outfit(covers=np.zeros(len(template), bool))
    rng = np.random.default_rng(0)
    bare = {tuple(face) for face in wardrobe.skin_layer(rng, template, naked, None).faces.tolist()}
    beyond = {tuple(face) for face in surface.faces[cloth_ends].tolist()}
    assert len(beyond) > 500
    assert beyond <= bare
    for seed in range(48):
        outfit = wardrobe.dress(np.random.default_rng(seed), bool(seed % 2))
        if not any((garment.category == CLASS["Gloves"]).any() for garment in outfit.garments):
            layer = wardrobe.skin_layer(rng, template, outfit, None)
            assert beyond <= {tuple(face) for face in layer.faces.tolist()}, f"seed {seed}"


@pytest.mark.parametrize("seed", [0, 2])
def test_people_have_eyes(render, seed: int) -> None:  # type: ignore[no-untyped-def]
    rendered = render(0.0, seed=seed, backdrop=np.full((1024, 768, 3), 90, np.uint8))
    face = rendered.category == CLASS["Face"]
    skin = np.median(rendered.image[face].mean(1))
    for x, y, visible in rendered.keypoints[0, 1:3]:
        assert visible == 2
        near = np.s_[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4]
        assert rendered.image[near].mean(2).min() < 0.4 * skin, "no pupil"
        assert face[near].mean() > 0.95
        assert set(np.unique(rendered.iuv[near][..., 0])) <= {23, 24}


def test_irises_are_dark_or_light_as_skins_are() -> None:
    rng, eyes = np.random.default_rng(0), fabrics.drawn_eyes()
    brown = {}
    for tone in ("light", "dark"):
        drawn = [fabrics.eye(eyes, tone, rng)[32, 42, :3].astype(int) for _ in range(200)]
        brown[tone] = np.mean([red > 1.2 * blue for red, _, blue in drawn])
    assert 0.35 < brown["light"] < 0.75
    assert brown["dark"] > 0.9


def test_skin_looks_like_skin() -> None:
    rng = np.random.default_rng(0)
    tones = set()
    for _ in range(200):
        skin = fabrics.skin_tone(fabrics.bare_skin(rng), rng)
        red, green, blue = skin[..., :3].reshape(-1, 3).mean(0)
        assert red > green * 1.02 > blue * 0.98
        tones.add(fabrics.tone(skin))
    assert tones == {"light", "medium", "dark"}


def test_cloth_tiles_and_is_opaque() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        cloth = fabrics.fabric(rng)
        assert cloth.shape == (256, 256, 4)
        assert (cloth[..., 3] == 255).all()


def test_mirrored_values() -> None:
    iuv = np.array([[[2, 10, 40], [24, 30, 50], [9, 60, 70]]], np.uint8)
    expected = [[[2, 10, 215], [23, 225, 50], [10, 60, 70]]]
    assert mirror_values(iuv).tolist() == expected
    np.testing.assert_array_equal(mirror_values(mirror_values(iuv)), iuv)
    assert mirror_values(np.zeros((1, 1, 3), np.uint8)).tolist() == [[[0, 0, 0]]]
    np.testing.assert_array_equal(COARSE_OF_PART[MIRRORED][[3, 15, 23]], [3, 11, 14])


def test_several_people_hide_each_other(generator: Generator) -> None:
    rendered = draw_scene(np.random.default_rng(3), generator.cast, BACKDROP, (), 6)
    assert 2 <= len(rendered.people) <= 6
    assert rendered.instance.max() <= len(rendered.people)
    assert {"style", "outfit", "woman", "child", "tone", "yaw"} <= set(rendered.people[0])


def test_a_pixel_has_the_label_of_most_of_its_samples(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    known: list[tuple[Hits, np.ndarray]] = []
    resolve = scene._resolve

    def listen(hits: Hits, label: np.ndarray) -> Hits:
        known.append((hits, label))
        return resolve(hits, label)

    monkeypatch.setattr(scene, "_resolve", listen)
    rendered = draw_scene(np.random.default_rng(3), generator.cast, BACKDROP, (), 6)
    ((hits, label),) = known
    samples = np.where(hits.face >= 0, label[hits.face], 0)
    height, width = rendered.instance.shape
    four = samples.reshape(height, 2, width, 2).swapaxes(1, 2).reshape(height * width, 4)
    depths = hits.depth.reshape(height, 2, width, 2).swapaxes(1, 2).reshape(height * width, 4)
    keys = rendered.instance.astype(int) * 4096 + rendered.category.astype(int) * 32 + rendered.iuv[..., 0]
    mixed = 0
    for key, own, depth in zip(keys.ravel().tolist(), four.tolist(), depths.tolist(), strict=True):
        counts = Counter(value for value in own if value)
        if counts.total() < 2:
            assert key == 0
            continue
        most = max(counts.values())
        nearest = {value: min(z for z, x in zip(depth, own, strict=True) if x == value) for value in counts}
        tied = [value for value in counts if counts[value] == most]
        assert key == min(tied, key=nearest.__getitem__)
        mixed += len(counts) > 1
    assert mixed > 300


def test_a_picture_is_made_by_its_number(generator: Generator) -> None:
    first, second = generator.picture(5), generator.picture(5)
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.iuv, second.iuv)
    assert (generator.picture(6).image != first.image).any()


def test_held_out_people_are_other_people(generator: Generator, source) -> None:  # type: ignore[no-untyped-def]
    other = Generator(replace(source, held_out=True))
    assert other.seed % 2 == 1
    assert generator.seed % 2 == 0
    assert other.cast.shapes.rest[0, 0].tolist() != generator.cast.shapes.rest[0, 0].tolist()
