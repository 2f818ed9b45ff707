"""Whole pictures: people on a floor before a background, seen by a camera, with every label exact."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.synthetic import fabrics
from training.data.synthetic.body import Body, ShapeBank
from training.data.synthetic.keypoints import place, see
from training.data.synthetic.outfits import Wardrobe
from training.data.synthetic.raster import Hits, Soup, Textures, interpolate, rasterise
from training.data.synthetic.shading import Camera, Light, shade, shadow_map
from training.data.synthetic.skeleton import Poser, skin, transforms
from training.data.synthetic.surface import used_vertices, vertex_normals
from training.data.synthetic.wardrobe import Layer

_SAMPLES = 2  # rays a pixel and axis
_HEIGHT = 1.7  # metres of the person that sets the scale
_APART = 0.45  # metres between two people on the floor
_COUNTS = (0.34, 0.24, 0.17, 0.12, 0.08, 0.05)  # chances of 1..6 people


@dataclass
class Rendered:
    """A picture and its labels.

    Attributes:
        image: uint8 [H,W,3] RGB.
        category: uint8 [H,W] CIHP class ids; instance: uint8 [H,W], k = person k of `people`, 0 nobody.
        iuv: uint8 [H,W,3] DensePose part, U and V times 255.
        people: one record a person, by instance: style, outfit, woman, child, tone of the skin, yaw.
        keypoints: float32 [people,17,3], COCO's x, y and visibility.
    """

    image: NDArray[np.uint8]
    category: NDArray[np.uint8]
    instance: NDArray[np.uint8]
    iuv: NDArray[np.uint8]
    people: list[dict[str, Any]]
    keypoints: NDArray[np.float32]


@dataclass(frozen=True)
class Person:
    """A dressed, posed person.

    Attributes:
        layers: skin first, then what is worn; keypoints: float32 [17,3] metres; facts: of the record.
    """

    layers: list[Layer]
    keypoints: NDArray[np.float32]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Cast:
    """Everything that people are made of."""

    body: Body
    shapes: ShapeBank
    wardrobe: Wardrobe
    poser: Poser


def draw_person(rng: np.random.Generator, cast: Cast, skins: tuple[str, ...]) -> Person:
    """A dressed, posed person about the origin, facing -y."""
    index = int(rng.integers(len(cast.shapes)))
    woman, child = bool(cast.shapes.gender[index] > 0.5), bool(cast.shapes.age[index] < 0.58)
    outfit = cast.wardrobe.dress(rng, woman, child)
    style, pose = cast.poser.draw(rng)
    moves = transforms(cast.body, cast.shapes.heads[index], pose)
    rest = cast.shapes.rest[index]
    posed = skin(rest, cast.body.skin_index, cast.body.skin_weight, moves)
    own = [name for name in skins if ("female" in name) == woman] or list(skins)
    chosen = str(rng.choice(own)) if own else None
    layers = [cast.wardrobe.skin_layer(rng, posed, outfit, chosen)]
    tone = fabrics.tone(layers[0].texture)
    # of a stream of its own: the same seeds are the same people as before they had eyes
    layers.append(cast.wardrobe.eyes.layer(rng.spawn(1)[0], posed, tone))
    layers += cast.wardrobe.worn(outfit, rest, moves, posed)
    if rng.random() < 0.09:
        layers.append(cast.wardrobe.eyewear(rest, moves))
    facts = {"style": style, "outfit": outfit.description[0], "woman": woman, "child": child, "tone": tone}
    keypoints = place(cast.body, cast.shapes.heads[index], moves, posed)
    return Person(layers, keypoints, facts)


def _turn(person: Person, yaw: float, spot: tuple[float, float]) -> Person:
    """A person turned about the vertical and put on the floor."""
    layers = person.layers
    cosine, sine = np.cos(yaw), np.sin(yaw)
    matrix = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], np.float32)
    lowest = (layer.points[used_vertices(layer.faces, len(layer.points)), 2].min() for layer in layers)
    floor = min(float(z) for z in lowest)
    centre = layers[0].points.mean(0)
    shift = np.array([spot[0], spot[1], -floor], np.float32)

    def move(points: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray((points - centre * np.array([1, 1, 0], np.float32)) @ matrix.T + shift, np.float32)

    turned = [replace(layer, points=move(layer.points)) for layer in layers]
    return Person(turned, move(person.keypoints), person.facts)


def draw_camera(rng: np.random.Generator, height: int, width: int) -> tuple[Camera, float]:
    """A camera and the distance in metres at which its subject stands on the y axis."""
    focal = 0.5 * max(height, width) / np.tan(np.deg2rad(rng.uniform(28, 68)) / 2)
    fills = float(
        rng.choice((rng.uniform(0.22, 0.55), rng.uniform(0.55, 0.95), rng.uniform(1.0, 2.4)), p=(0.3, 0.45, 0.25))
    )
    distance = focal * _HEIGHT / (fills * height)
    eye = float(np.clip(rng.normal(1.45, 0.3), 0.5, 2.6))
    if fills < 1:  # the whole body
        middle, target = 0.85, height * rng.uniform(0.42, 0.58)
    else:  # half bodies and heads, more often the upper half
        middle, target = (rng.uniform(1.15, 1.55) if rng.random() < 0.75 else rng.uniform(0.3, 0.9)), height * 0.5
    downwards = np.arctan2(eye - middle, distance) - np.arctan2(target - height / 2, focal)
    roll = np.deg2rad(rng.normal(0, 2))
    forward = np.array([0, np.cos(downwards), -np.sin(downwards)])
    right = np.array([1.0, 0, 0])
    down = np.cross(forward, right)
    right, down = right * np.cos(roll) + down * np.sin(roll), down * np.cos(roll) - right * np.sin(roll)
    axes = np.stack([right, down, forward]).astype(np.float32)
    return Camera(np.array([0, -distance, eye], np.float32), axes, float(focal), width, height), float(distance)


def _places(rng: np.random.Generator, camera: Camera, distance: float, count: int) -> list[tuple[float, float]]:
    """Where people stand: x and y in metres, in view and not inside each other."""
    places: list[tuple[float, float]] = []
    for index in range(count):
        for _ in range(20):
            away = distance * (1.0 if index == 0 else rng.uniform(0.9, 2.2))
            across = rng.uniform(0.3, 0.7) if count == 1 else rng.uniform(0.06, 0.94)
            x = (across - 0.5) * camera.width / camera.focal * away
            y = away - distance
            if all(np.hypot(x - a, y - b) > _APART for a, b in places):
                places.append((float(x), float(y)))
                break
    return places


def draw_scene(
    rng: np.random.Generator,
    cast: Cast,
    background: NDArray[np.uint8],
    skins: tuple[str, ...],
    count: int | None = None,
) -> Rendered:
    """Render people before a background.

    Args:
        background: uint8 [H,W,3] RGB; its size is the picture's.
        skins: names of the skin textures to draw from (none: plain colours).
        count: people; None draws 1..6.
    """
    height, width = background.shape[:2]
    camera, distance = draw_camera(rng, height, width)
    wanted = count if count is not None else 1 + int(rng.choice(6, p=_COUNTS))
    people = []
    for spot in _places(rng, camera, distance, wanted):
        person = draw_person(rng, cast, skins)
        yaw = _draw_yaw(rng)
        person.facts["yaw"] = round(yaw, 1)
        people.append(_turn(person, np.deg2rad(yaw), spot))
    return _render(rng, people, camera, background)


def _draw_yaw(rng: np.random.Generator) -> float:
    """Degrees: 0 faces the camera, 180 shows the back; half of the people roughly face it."""
    kind = rng.random()
    if kind < 0.5:
        return float(rng.normal(0, 30))
    return float(rng.normal(180, 30) if kind < 0.7 else rng.uniform(-180, 180))


def _render(rng: np.random.Generator, people: list[Person], camera: Camera, background: NDArray[np.uint8]) -> Rendered:
    layers = [layer for person in people for layer in person.layers]
    owner = [number for number, person in enumerate(people, start=1) for _ in person.layers]
    starts = np.cumsum([0] + [len(layer.points) for layer in layers])
    points = np.concatenate([layer.points for layer in layers])
    faces = np.concatenate([layer.faces + start for layer, start in zip(layers, starts, strict=False)]).astype(np.int32)
    normals = np.concatenate([vertex_normals(layer.points, layer.faces) for layer in layers])
    sizes = [len(layer.faces) for layer in layers]
    fine = camera.scaled(_SAMPLES)
    soup = Soup(
        fine.project(points),
        faces,
        np.concatenate([layer.uv for layer in layers]),
        np.repeat(np.arange(len(layers), dtype=np.int32), sizes),
        np.repeat([layer.closed for layer in layers], sizes),
    )
    textures = Textures.pack([layer.texture for layer in layers])
    hits = rasterise(soup, textures, fine.height, fine.width)
    light = Light.draw(rng)
    colour, floor = shade(hits, soup, textures, normals, fine, light, shadow_map(points, faces, light))
    image = _compose(rng, colour, hits.face >= 0, floor, background)
    person = np.repeat(np.array(owner, np.uint8), sizes)
    category_of, part_of = (np.concatenate([getattr(layer, name) for layer in layers]) for name in ("category", "part"))
    seen = _resolve(hits, person * np.int32(4096) + category_of * np.int32(32) + part_of)
    part = _per_face(part_of, seen)
    chart = interpolate(np.concatenate([layer.chart for layer in layers]), seen)
    iuv = np.dstack([part, np.round(chart * 255).clip(0, 255).astype(np.uint8)])
    category = _per_face(category_of, seen)
    instance = _per_face(person, seen)
    keypoints = [see(person.keypoints, k, camera, instance, seen) for k, person in enumerate(people, start=1)]
    facts = [person.facts for person in people]
    return Rendered(image, category, instance, iuv, facts, np.stack(keypoints))


def _per_face(values: NDArray[np.uint8], hits: Hits) -> NDArray[np.uint8]:
    """Values of faces [f] at every pixel, 0 where nothing is."""
    return np.where(hits.face >= 0, values[hits.face], 0).astype(np.uint8)


def _resolve(hits: Hits, label: NDArray[np.int32]) -> Hits:
    """One sample a pixel: where at least half of its samples hit somebody, one with the label that most of them have.

    Of labels that equally many have it is the nearer one.

    Args:
        label: [f], one number for each person, class and part.
    """
    corners = [np.s_[y::_SAMPLES, x::_SAMPLES] for y in range(_SAMPLES) for x in range(_SAMPLES)]
    face, depth = (np.stack([array[corner] for corner in corners]) for array in (hits.face, hits.depth))
    hit = face >= 0
    found = np.where(hit, label[face], -1)
    votes = np.stack([(found == own).sum(0, dtype=np.int8) for own in found]) * hit
    best = np.where(votes == votes.max(0), depth, np.inf).argmin(0)
    rows, columns = np.indices(best.shape, np.int32, sparse=True)
    at = rows * _SAMPLES + best // _SAMPLES, columns * _SAMPLES + best % _SAMPLES
    enough = hit.sum(0, dtype=np.int8) * 2 >= _SAMPLES**2
    return Hits(np.where(enough, hits.face[at], -1).astype(np.int32), hits.weights[at], hits.depth[at])


def _compose(
    rng: np.random.Generator,
    colour: NDArray[np.float32],
    hit: NDArray[np.bool_],
    floor: NDArray[np.float32],
    background: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """People over the background: soft edges, shadows on the floor, the camera's blur and noise."""
    size = (background.shape[1], background.shape[0])
    inside = np.round(colour.clip(0, 255)).astype(np.uint8)
    people = cv2.resize(inside, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    alpha = cv2.resize(hit.astype(np.float32), size, interpolation=cv2.INTER_AREA)[..., None]
    dark = cv2.GaussianBlur(cv2.resize(floor, size, interpolation=cv2.INTER_AREA), (0, 0), 1.5 + 0.004 * size[0])
    behind = background.astype(np.float32)
    if rng.random() < 0.3:
        behind = np.asarray(cv2.GaussianBlur(behind, (0, 0), rng.uniform(0.5, 2.5)), np.float32)
    image = people + behind * dark[..., None] * (1 - alpha)
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.8))
    image += rng.normal(0, rng.uniform(0, 4), image.shape[:2])[..., None]
    return np.asarray(image.clip(0, 255), np.uint8)
