"""Readers of an asset folder in MakeHuman's formats: clothes and hair (.mhclo + .obj), skins, poses (.bvh).

Layout: clothes/NAME, hair/NAME, skins/textures/*.jpg, eyes/materials/*_eye.png, poses/*.bvh. What a garment is bound to
is MakeHuman's base mesh hm08 with its helper geometry, which is also the vertex order of the body in `body.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.errors import DatasetError

_TEXTURE = 512  # pixels: garments are never seen closer
_PLAIN = (180, 180, 180)
_EYE = (0.293, 0.7, 0.288)  # of MakeHuman's eye textures: middle and radius of the lower of the two eyeballs
_EYE_SIDE = 64  # pixels across an eyeball: half a millimetre each


@dataclass(frozen=True)
class ObjMesh:
    """A triangle mesh as an .obj file holds it.

    Attributes:
        vertices: float32 [v,3]; texture_points: float32 [t,2], v upwards.
        faces, texture_faces: int32 [f,3], polygons cut into fans.
    """

    vertices: NDArray[np.float32]
    texture_points: NDArray[np.float32]
    faces: NDArray[np.int32]
    texture_faces: NDArray[np.int32]


def read_obj(path: Path) -> ObjMesh:
    """Read vertices, texture coordinates and faces; everything else is passed over.

    Raises:
        DatasetError: a face names a vertex that the file does not have, or there is no face.
    """
    vertices: list[list[float]] = []
    points: list[list[float]] = []
    faces: list[tuple[int, int, int]] = []
    textured: list[tuple[int, int, int]] = []
    for line in path.read_text(errors="replace").splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "v":
            vertices.append([float(x) for x in words[1:4]])
        elif words[0] == "vt":
            points.append([float(x) for x in words[1:3]])
        elif words[0] == "f":
            corners = [word.split("/") for word in words[1:]]
            places = [int(c[0]) - 1 for c in corners]
            texture = [int(c[1]) - 1 if len(c) > 1 and c[1] else 0 for c in corners]
            for k in range(1, len(corners) - 1):
                faces.append((places[0], places[k], places[k + 1]))
                textured.append((texture[0], texture[k], texture[k + 1]))
    mesh = ObjMesh(
        np.array(vertices, np.float32).reshape(-1, 3),
        np.array(points or [[0.0, 0.0]], np.float32),
        np.array(faces, np.int32).reshape(-1, 3),
        np.array(textured, np.int32).reshape(-1, 3),
    )
    if not len(mesh.faces) or mesh.faces.max() >= len(mesh.vertices) or mesh.faces.min() < 0:
        raise DatasetError(f"{path}: no faces, or one with a vertex that is not there")
    return mesh


def read_mesh_groups(path: Path) -> dict[str, NDArray[np.int32]]:
    """Faces int32 [f,3] of every group of an .obj file, polygons cut into fans."""
    groups: dict[str, list[tuple[int, int, int]]] = {}
    current: list[tuple[int, int, int]] = groups.setdefault("", [])
    for line in path.read_text(errors="replace").splitlines():
        words = line.split()
        if words and words[0] == "g":
            current = groups.setdefault(" ".join(words[1:]), [])
        elif words and words[0] == "f":
            places = [int(word.split("/")[0]) - 1 for word in words[1:]]
            current += [(places[0], places[k], places[k + 1]) for k in range(1, len(places) - 1)]
    return {name: np.array(faces, np.int32) for name, faces in groups.items() if faces}


@dataclass(frozen=True)
class Proxy:
    """A garment or hair style bound to the base mesh.

    Attributes:
        name: of its folder.
        corners: int32 [v,3] base vertices that carry each vertex, by weights float32 [v,3], moved by offsets [v,3].
        scales: for x, y, z: two base vertices and the distance between them for which the offsets were made.
        hidden: int32 [k] base vertices that the garment covers.
        mesh: the garment; its vertices are replaced by `fit`.
        texture: uint8 [h,w,4] RGBA.
    """

    name: str
    corners: NDArray[np.int32]
    weights: NDArray[np.float32]
    offsets: NDArray[np.float32]
    scales: tuple[tuple[int, int, float], ...]
    hidden: NDArray[np.int32]
    mesh: ObjMesh
    texture: NDArray[np.uint8]

    def fit(self, rest: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vertices float32 [v,3] on a body.

        Args:
            rest: float32 [19158,3] base mesh with helpers at rest, metres, z up, facing -y.
        """
        dm = to_makehuman(rest)
        scale = np.ones(3, np.float32)
        for axis, (first, second, distance) in enumerate(self.scales):
            scale[axis] = abs(dm[first, axis] - dm[second, axis]) / distance
        moved = np.einsum("vkc,vk->vc", dm[self.corners], self.weights) + self.offsets * scale
        return from_makehuman(moved)


def to_makehuman(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Metres, z up, facing -y -> decimetres, y up, facing +z. [...,3]."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], -1) * np.float32(10)


def from_makehuman(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """The inverse of `to_makehuman`."""
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], -1).astype(np.float32) / np.float32(10)


def read_proxy(folder: Path) -> Proxy:
    """Read the garment of a folder: its .mhclo, the .obj that it names and its colour texture.

    Raises:
        DatasetError: a file is missing, or the .mhclo has a row that does not fit its .obj.
    """
    files = sorted(folder.glob("*.mhclo"))
    if not files:
        raise DatasetError(f"{folder}: no .mhclo file here")
    path = files[0]
    rows: list[list[float]] = []
    hidden: list[int] = []
    scales: dict[str, tuple[int, int, float]] = {}
    mesh_name, section = "", ""
    for words in _lines(path):
        match words:
            case ["x_scale" | "y_scale" | "z_scale" as key, first, second, distance]:
                scales[key[0]] = (int(first), int(second), float(distance))
            case ["obj_file", *rest]:
                mesh_name = " ".join(rest)
            case ["verts" | "delete_verts" as key, *_]:
                section = key
            case _ if section == "verts" and len(words) in (1, 9) and _is_number(words[0]):
                rows.append(
                    [float(words[0])] * 3 + [1, 0, 0, 0, 0, 0] if len(words) == 1 else [float(w) for w in words]
                )
            case _ if section == "delete_verts" and _is_number(words[0]):
                hidden.extend(_ranges(words))
    mesh = read_obj(folder / mesh_name) if mesh_name and (folder / mesh_name).is_file() else None
    if mesh is None:
        raise DatasetError(f"{path}: its obj_file {mesh_name!r} is not beside it")
    if len(rows) != len(mesh.vertices):
        raise DatasetError(f"{path}: {len(rows)} bound vertices, but {mesh_name} has {len(mesh.vertices)}")
    table = np.array(rows, np.float64)
    return Proxy(
        folder.name,
        table[:, :3].astype(np.int32),
        table[:, 3:6].astype(np.float32),
        table[:, 6:].astype(np.float32),
        tuple(scales[axis] for axis in "xyz") if len(scales) == 3 else (),
        np.array(sorted(set(hidden)), np.int32),
        mesh,
        _texture(folder),
    )


def _lines(path: Path) -> Iterator[list[str]]:
    for line in path.read_text(errors="replace").splitlines():
        words = line.split()
        if words and not words[0].startswith("#"):
            yield words


def _is_number(word: str) -> bool:
    return word.lstrip("-").isdigit()


def _ranges(words: list[str]) -> Iterator[int]:
    """`3 5 - 8 12` -> 3 5 6 7 8 12."""
    index = 0
    while index < len(words):
        if index + 2 < len(words) and words[index + 1] == "-":
            yield from range(int(words[index]), int(words[index + 2]) + 1)
            index += 3
        else:
            yield int(words[index])
            index += 1


def _texture(folder: Path) -> NDArray[np.uint8]:
    """RGBA of the folder's diffuse texture; plain grey, to be tinted, where it has none."""
    found = [p for p in sorted(folder.iterdir()) if "diffuse" in p.name and p.suffix in (".png", ".jpg")]
    found += [p for p in sorted(folder.iterdir()) if p.suffix in (".png", ".jpg") and p not in found]
    image = cv2.imread(str(found[0]), cv2.IMREAD_UNCHANGED) if found else None
    if image is None:
        return np.full((8, 8, 4), (*_PLAIN, 255), np.uint8)
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    code = cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGBA
    size = (min(_TEXTURE, image.shape[1]), min(_TEXTURE, image.shape[0]))
    return np.asarray(cv2.resize(cv2.cvtColor(image, code), size, interpolation=cv2.INTER_AREA), np.uint8)


@dataclass(frozen=True)
class BvhPose:
    """The first frame of a .bvh file: rotation of each joint against its rest, in the frame of its parent.

    Attributes:
        rotations: joint -> float64 [3,3], in MakeHuman's axes (y up, facing +z).
        parents: joint -> its parent, None for the root.
    """

    rotations: dict[str, NDArray[np.float64]]
    parents: dict[str, str | None]


def read_bvh(path: Path) -> BvhPose:
    """Read the skeleton and the first frame.

    Raises:
        DatasetError: the file has no motion, or fewer values than channels.
    """
    names: list[str] = []
    channels: list[list[str]] = []
    parents: dict[str, str | None] = {}
    stack: list[str | None] = []
    values: list[float] = []
    latest: str | None = None
    for words in _lines(path):
        match words:
            case ["ROOT" | "JOINT", *rest]:
                latest = " ".join(rest)
                names.append(latest)
                channels.append([])
                parents[latest] = next((n for n in reversed(stack) if n is not None), None)
            case ["End", *_]:
                latest = None
            case ["{"]:
                stack.append(latest)
            case ["}"]:
                stack.pop()
            case ["CHANNELS", _, *kinds]:
                channels[-1] = kinds
            case [first, *_] if _is_value(first) and not values:
                values = [float(w) for w in words]
    if not names or len(values) < sum(map(len, channels)):
        raise DatasetError(f"{path}: {len(values)} values in its first frame, {sum(map(len, channels))} channels")
    rotations, start = {}, 0
    for name, kinds in zip(names, channels, strict=True):
        matrix = np.eye(3)
        for kind, value in zip(kinds, values[start : start + len(kinds)], strict=True):
            if kind.endswith("rotation"):
                matrix = matrix @ axis_rotation("XYZ".index(kind[0]), np.deg2rad(value))
        rotations[name] = matrix
        start += len(kinds)
    return BvhPose(rotations, parents)


def _is_value(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def axis_rotation(axis: int, angle: float) -> NDArray[np.float64]:
    """Right-handed rotation [3,3] about axis 0, 1 or 2 by an angle in radians."""
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix = np.eye(3)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[i, i] = matrix[j, j] = cosine
    matrix[i, j], matrix[j, i] = -sine, sine
    return matrix


@dataclass(frozen=True)
class Assets:
    """All that an asset folder offers, by name.

    Attributes:
        suits, shoes, hats, hair: garments.
        skins: name -> uint8 [512,512,3] RGB on the body's texture coordinates.
        eyes: name -> uint8 [64,64,3] RGB, the front of an eyeball, the pupil in the middle.
        poses: name -> pose.
    """

    suits: dict[str, Proxy]
    shoes: dict[str, Proxy]
    hats: dict[str, Proxy]
    hair: dict[str, Proxy]
    skins: dict[str, NDArray[np.uint8]]
    eyes: dict[str, NDArray[np.uint8]]
    poses: dict[str, BvhPose]

    @classmethod
    def none(cls) -> Assets:
        """Nothing: people then wear what the tailor cuts, and have plain skin, short hair and drawn eyes."""
        return cls({}, {}, {}, {}, {}, {}, {})

    @classmethod
    def open(cls, root: Path) -> Assets:
        """Read everything below `root`.

        Raises:
            DatasetError: the folder is absent, or holds no clothes, hair or skins.
        """
        if not (root / "clothes").is_dir() or not (root / "hair").is_dir():
            raise DatasetError(f"{root}: no clothes/ and hair/ here; point assets at a MakeHuman asset folder")
        clothes = {p.name: read_proxy(p) for p in sorted((root / "clothes").iterdir()) if p.is_dir()}
        skins = {p.stem: _skin(p) for p in sorted((root / "skins").rglob("*diffuse*.jpg"))}
        if not skins:
            raise DatasetError(f"{root}/skins: no *diffuse*.jpg here")
        return cls(
            suits={n: p for n, p in clothes.items() if "suit" in n},
            shoes={n: p for n, p in clothes.items() if n.startswith("shoes")},
            hats={n: p for n, p in clothes.items() if n.startswith("fedora")},
            hair={p.name: read_proxy(p) for p in sorted((root / "hair").iterdir()) if p.is_dir()},
            skins=skins,
            eyes={p.stem: _eye(p) for p in sorted((root / "eyes").rglob("*_eye.png"))},
            poses={p.stem: read_bvh(p) for p in sorted((root / "poses").glob("*.bvh"))},
        )


def _skin(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise DatasetError(f"{path}: cannot be read as a picture")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _eye(path: Path) -> NDArray[np.uint8]:
    image = _skin(path)
    x, y, radius = (round(share * image.shape[1]) for share in _EYE)
    front = image[max(0, y - radius) : y + radius, max(0, x - radius) : x + radius]
    return np.asarray(cv2.resize(front, (_EYE_SIDE, _EYE_SIDE), interpolation=cv2.INTER_AREA), np.uint8)
