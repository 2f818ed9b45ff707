"""Cloth, hair and skin colours: textures drawn at random, and natural changes of given ones. All uint8 [h,w,4] RGBA."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
from numpy.typing import NDArray

_SIZE = 256
Texture = NDArray[np.uint8]
# what people wear most, RGB; the rest is drawn from all colours
_COMMON = (
    (18, 18, 20), (35, 35, 40), (60, 62, 66), (120, 120, 122), (170, 170, 172), (235, 235, 232), (245, 243, 238),
    (25, 32, 58), (40, 55, 95), (70, 95, 135), (140, 165, 195), (92, 70, 52), (150, 120, 88), (205, 185, 155),
    (110, 30, 38), (165, 35, 40), (62, 78, 50), (100, 105, 70), (225, 200, 205), (200, 150, 60),
)  # fmt: skip
_HAIR = (
    (22, 18, 16), (38, 27, 21), (62, 42, 28), (92, 62, 38), (128, 90, 52), (170, 130, 80), (205, 172, 120),
    (120, 52, 28), (150, 150, 148), (215, 213, 208),
)  # fmt: skip
# cheek colours of the ten steps of the Monk scale and thereabouts
_SKINS = (
    (246, 220, 200), (240, 205, 178), (228, 188, 156), (212, 166, 130), (190, 140, 104), (160, 112, 80),
    (130, 88, 62), (100, 66, 46), (76, 50, 36), (54, 38, 30),
)  # fmt: skip
_IRISES = {"brown": (112, 76, 42), "blue": (96, 128, 158), "grey": (116, 122, 122), "green": (92, 110, 72)}
_KINDS = {
    "plain": 0.48, "stripes": 0.14, "checks": 0.10, "dots": 0.05, "blobs": 0.09, "denim": 0.09, "knit": 0.05,
}  # fmt: skip


def colour(rng: np.random.Generator) -> NDArray[np.float32]:
    """A colour that clothes have, float32 [3] 0..255."""
    if rng.random() < 0.65:
        base = np.array(_COMMON[rng.integers(len(_COMMON))], np.float32)
        return np.asarray((base * rng.uniform(0.8, 1.2) + rng.normal(0, 6, 3)).clip(4, 250), np.float32)
    hue, saturation, value = rng.random(), rng.uniform(0.2, 0.95), rng.uniform(0.2, 0.98)
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value), np.float32) * 255


def _noise(rng: np.random.Generator, cells: int) -> NDArray[np.float32]:
    """Smooth noise float32 [256,256] about 0, `cells` blobs across, that tiles."""
    small = rng.normal(0, 1, (cells, cells)).astype(np.float32)
    padded = np.pad(small, 2, mode="wrap")
    scale = _SIZE // cells
    big = cv2.resize(padded, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    return np.asarray(big[2 * scale : 2 * scale + _SIZE, 2 * scale : 2 * scale + _SIZE])


def fabric(rng: np.random.Generator) -> Texture:
    """Plain, striped, checked, dotted, flowered, camouflage, denim or knitted cloth; tiles."""
    first, second = colour(rng), colour(rng)
    y, x = np.mgrid[0:_SIZE, 0:_SIZE].astype(np.float32) / _SIZE
    kind = rng.choice(list(_KINDS), p=list(_KINDS.values()))
    mix = np.zeros((_SIZE, _SIZE), np.float32)
    count = int(rng.choice((2, 4, 8, 16)))
    share = rng.uniform(0.25, 0.75)
    if kind == "stripes":
        along = y if rng.random() < 0.7 else x
        mix = ((along * count) % 1 < share).astype(np.float32)
    elif kind == "checks":
        mix = ((y * count) % 1 < share) * np.float32(0.5) + ((x * count) % 1 < share) * np.float32(0.5)
    elif kind == "dots":
        mix = (np.hypot((x * count * 2) % 1 - 0.5, (y * count * 2) % 1 - 0.5) < rng.uniform(0.15, 0.38)).astype(
            np.float32
        )
    elif kind == "blobs":
        mix = (_noise(rng, int(rng.choice((4, 8, 16)))) > rng.uniform(-0.3, 0.8)).astype(np.float32)
    elif kind == "denim":
        first = np.array([55, 75, 115], np.float32) * rng.uniform(0.5, 1.6) + rng.normal(0, 8, 3).astype(np.float32)
        second = first * 1.5
        mix = (0.25 + 0.2 * _noise(rng, 4)).clip(0, 1)
    elif kind == "knit":
        second = first * rng.uniform(0.5, 0.85)
        mix = (np.sin(x * 2 * np.pi * 32) * np.sin(y * 2 * np.pi * 16) * 0.5 + 0.5).astype(np.float32)
    image = first + (second - first) * mix[..., None]
    if kind == "blobs" and rng.random() < 0.5:  # a third colour: flowers, camouflage
        image = np.where((_noise(rng, 8) > 0.7)[..., None], colour(rng), image)
    shade = 1 + 0.05 * _noise(rng, 8) + 0.03 * _noise(rng, 64) * (kind != "plain") + 0.03 * _noise(rng, 2)
    image = (image * shade[..., None] * rng.uniform(0.9, 1.05)).clip(3, 252)
    return np.dstack([image, np.full((_SIZE, _SIZE), 255)]).astype(np.uint8)


def recolour(texture: Texture, rng: np.random.Generator) -> Texture:
    """Another dye for a given garment: hue, saturation and brightness; its folds and prints stay."""
    hsv = cv2.cvtColor(np.ascontiguousarray(texture[..., :3]), cv2.COLOR_RGB2HSV)
    target = cv2.cvtColor(colour(rng).reshape(1, 1, 3).astype(np.uint8), cv2.COLOR_RGB2HSV)[0, 0].astype(np.float32)
    mean = hsv[..., 2].mean() + 1
    levels = np.arange(256, dtype=np.float32)
    hue = ((levels + rng.integers(0, 180)) % 180).astype(np.uint8)
    gain = float(np.clip(max(target[2], 25.0) / mean, 0.4, 2.2))
    saturation = (levels * rng.uniform(0.3, 1.1) + target[1] * rng.uniform(0.0, 0.5)).clip(0, 255).astype(np.uint8)
    value = (levels * gain).clip(0, 255).astype(np.uint8)
    planes = [table[hsv[..., k]] for k, table in enumerate((hue, saturation, value))]
    rgb = cv2.cvtColor(np.dstack(planes), cv2.COLOR_HSV2RGB)
    return np.dstack([rgb, texture[..., 3]])


def hair_colour(texture: Texture, rng: np.random.Generator) -> Texture:
    """A given hair texture in one of the colours that hair has."""
    grey = texture[..., :3].astype(np.float32).mean(2)
    opaque = texture[..., 3] > 100
    detail = grey / max(float(grey[opaque].mean()) if opaque.any() else float(grey.mean()), 1.0)
    base = np.array(_HAIR[rng.integers(len(_HAIR))], np.float32) * rng.uniform(0.75, 1.25)
    if rng.random() < 0.03:
        base = colour(rng)
    return np.dstack([(detail[..., None] * base).clip(2, 250), texture[..., 3]]).astype(np.uint8)


def skin_tone(skin: NDArray[np.uint8], rng: np.random.Generator) -> Texture:
    """A given skin, lighter or darker along the line on which skins differ: dark skin is less bright and redder."""
    image = skin.astype(np.float32) / 255
    light = float(image.mean()) > 0.5
    melanin = rng.uniform(0.3, 1.1) if light and rng.random() < 0.25 else rng.normal(0, 0.2)
    melanin = max(melanin, float(np.log(image[..., 0].mean() / 0.9)))  # no skin is white
    absorption = np.array([0.75, 1.0, 1.25], np.float32)
    image = image * np.exp(-melanin * absorption) * np.exp(rng.normal(0, (0.03, 0.02, 0.03)))
    image = image ** np.float32(np.exp(rng.normal(0, 0.05)))
    return np.dstack([(image * 255).clip(4, 248), np.full(skin.shape[:2], 255)]).astype(np.uint8)


def bare_skin(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A skin without features, uint8 [256,256,3], for those who have no skin textures."""
    base = np.array(_SKINS[rng.integers(len(_SKINS))], np.float32)
    mottled = 1 + 0.03 * _noise(rng, 8) + 0.02 * _noise(rng, 32)
    return (base * mottled[..., None]).clip(4, 250).astype(np.uint8)


def drawn_eyes() -> dict[str, NDArray[np.uint8]]:
    """Fronts of eyeballs, uint8 [64,64,3], by colour, for those who have no textures of them."""
    y, x = (np.mgrid[0:64, 0:64] - 31.5) / 32
    away = np.hypot(x, y)[..., None]
    fronts = {}
    for name, iris in _IRISES.items():
        image = np.array((226, 221, 217), np.float32) * (1.05 - 0.25 * away)
        ring = np.array(iris) * (1.15 - 0.6 * ((away - 0.12) / 0.27).clip(0, 1) ** 3)
        image += (ring - image) * ((0.39 - away) * 32 + 0.5).clip(0, 1)
        image *= ((away - 0.13) * 32 + 0.5).clip(0.06, 1)
        fronts[name] = image.clip(0, 255).astype(np.uint8)
    return fronts


def eye(fronts: dict[str, NDArray[np.uint8]], skin: str, rng: np.random.Generator) -> Texture:
    """The front of an eyeball: brown ones, of any depth, for most people, and nearly all but those of light skin.

    Args:
        fronts: by names that say so where they are brown.
        skin: what `tone` says of it.
    """
    brown = [name for name in fronts if "brown" in name]
    others = [name for name in fronts if name not in brown]
    dark = rng.random() < (0.5 if skin == "light" else 0.96)
    name = str(rng.choice((brown if dark else others) or list(fronts)))
    image = fronts[name].astype(np.float32)
    if name not in brown:  # the textures are of brighter colours than irises
        grey = image.mean(2, keepdims=True)
        image = grey + 0.6 * (image - grey)
    else:
        y, x = (np.mgrid[0:64, 0:64] - 31.5) / 32
        iris = ((0.42 - np.hypot(x, y)) * 16).clip(0, 1)[..., None]
        image = image * (1 - iris * (1 - rng.uniform(0.3, 1.0) * np.array((1, 0.92, 0.85))))
    return np.dstack([image * rng.uniform(0.85, 1.0), np.full(image.shape[:2], 255)]).astype(np.uint8)


def hair_strands(rng: np.random.Generator) -> Texture:
    """A texture of hair without a given one."""
    grain = 0.5 + 0.5 * cv2.blur(rng.random((_SIZE, _SIZE)).astype(np.float32), (1, 31))
    grey = np.repeat((grain * 200)[..., None], 3, 2)
    return hair_colour(np.dstack([grey, np.full((_SIZE, _SIZE), 255)]).astype(np.uint8), rng)


def tone(skin: Texture) -> str:
    """ "light", "medium" or "dark", by the individual typology angle of the mean colour (Chardon et al. 1991)."""
    lab = cv2.cvtColor((skin[::8, ::8, :3].astype(np.float32) / 255).mean((0, 1), keepdims=True), cv2.COLOR_RGB2LAB)[
        0, 0
    ]
    angle = np.degrees(np.arctan2(lab[0] - 50, lab[2]))
    return "light" if angle > 35 else "medium" if angle > 5 else "dark"


def plain(rgb: NDArray[np.float32]) -> Texture:
    """One colour."""
    return np.concatenate([rgb.clip(0, 255), [255]]).astype(np.uint8).reshape(1, 1, 4)
