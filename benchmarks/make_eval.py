"""Write the crowd test: composites of held-out people on held-out backgrounds, known to the pixel.

    python -m benchmarks.make_eval --seed 0 --data ../shared/data --out data/eval/crowd

Reads `ccp/{images,labels}` (photos whose id % 10 == 3; label map != 0 is the person) and `backgrounds` (index % 3 == 0
in the order of names). Writes, under --out:

    images/NNN.jpg       the composite, JPEG quality 92
    labels/NNN.png       8-bit CIHP class ids of all people
    instances/NNN.png    8-bit: k where person k is visible, 0 elsewhere
    annotations.json     COCO boxes of what is visible; per person also `instance` (k above), `visible` (part of
                         the person's mask that neither the edge nor another person hides), `source` (photo id)

The number of people is uniform in 1..5, their height 0.3-0.95 of the picture, and whoever stands lower stands in
front. A quarter of them may cross an edge of the picture. The same seed and the same data give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.taxonomy import CIHP
from training.data.datasets.records import read_pixels
from training.data.sample import mask_box
from training.data.sources import background_photos, read_map
from training.data.splits import ccp_split
from training.errors import DatasetError

CANVASES = ((341, 512), (512, 341), (384, 512), (512, 384), (448, 448))  # (height, width)
MOST_PEOPLE = 5
HEIGHTS = (0.3, 0.95)  # of the picture
LEAST_VISIBLE = 0.4
CROSSING = 0.25  # the part of the people that may cross an edge
JPEG_QUALITY = 92
SYNTHETIC_COUNT = 300
SYNTHETIC_SIZES = ("512x512", "640x416", "416x608")


@dataclass(frozen=True)
class CutOut:
    """One person cut tightly out of a photo.

    Attributes:
        source: id of the photo (its file stem).
        image: uint8 [h,w,3] BGR; outside the person the colours of its outline go on: a soft edge shows no old scene.
        labels: uint8 [h,w] CIHP class ids, 0 outside the person.
    """

    source: str
    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]


@dataclass(frozen=True)
class Placed:
    """A person at a place of the canvas; `alpha` (float32) and `labels` and `image` have the size of the canvas."""

    source: str
    bottom: int
    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    whole_area: int

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Where this person covers what lies behind."""
        return np.asarray(self.alpha >= 0.5)


def clean_mask(mask: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """The person without far-off speckle, or None when the mask falls apart (a label map that lacks a garment).

    Gaps up to 4 % of the height are bridged: a bag or a belt without a label often splits a whole person.
    """
    height = int(np.flatnonzero(mask.any(1)).size)
    if height == 0:
        return None
    size = 2 * (round(0.04 * height) // 2) + 1
    bridged = cv2.morphologyEx(np.pad(mask, size).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((size, size), np.uint8))
    _, components = cv2.connectedComponents(bridged[size:-size, size:-size])
    areas = np.bincount(components[mask])
    kept = mask & (components == int(areas.argmax()))
    return np.asarray(kept) if kept.sum() >= 0.95 * mask.sum() else None


def cut_out(source: str, image: NDArray[np.uint8], labels: NDArray[np.uint8]) -> CutOut | None:
    """Cut the labelled person out of a photo; None when the label map holds no whole person."""
    mask = clean_mask(labels != 0)
    if mask is None:
        return None
    box = mask_box(mask)
    assert box is not None
    x1, y1, x2, y2 = box.astype(int).tolist()
    inside = np.s_[y1:y2, x1:x2]
    mask, image, labels = mask[inside], image[inside], np.where(mask, labels, 0).astype(np.uint8)[inside]
    weight = cv2.blur(mask.astype(np.float32), (7, 7))
    outline = cv2.blur(image * mask[..., None].astype(np.float32), (7, 7)) / np.maximum(weight, 1e-6)[..., None]
    return CutOut(source, np.where(mask[..., None], image, outline).clip(0, 255).astype(np.uint8), labels)


def read_cut_outs(folder: Path) -> list[CutOut]:
    """All usable cut-outs of the held-out photos under `folder` (images/*.jpg and labels/*.png).

    Raises:
        FileNotFoundError: the folder holds no held-out photo.
        DatasetError: a photo or a label map is missing or damaged.
    """
    _, names = ccp_split(path.name for path in (folder / "images").glob("*.jpg"))
    if not names:
        raise FileNotFoundError(
            f"{folder / 'images'}: no photo with id % 10 == 3; point --data at the folder that holds ccp"
        )
    people = []
    for name in names:
        stem = Path(name).stem
        image = np.ascontiguousarray(read_pixels(folder / "images" / name)[..., ::-1])
        labels = read_map(folder / "labels" / f"{stem}.png", len(CIHP.classes))
        person = cut_out(stem, image, labels)
        if person is None:
            print(f"{name}: left out, its label map holds no whole person", file=sys.stderr)
        else:
            people.append(person)
    return people


def read_background(path: Path) -> NDArray[np.uint8]:
    """A picture, uint8 [H,W,3] BGR.

    Raises:
        DatasetError: it cannot be decoded.
    """
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise DatasetError(f"{path}: cannot be decoded")
    return np.asarray(picture, np.uint8)


def fit_background(image: NDArray[np.uint8], size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Scale a picture until it covers (height, width), then cut a random part of that size."""
    height, width = size
    scale = max(height / image.shape[0], width / image.shape[1])
    grown = (max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale)))
    image = np.asarray(
        cv2.resize(image, grown, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR), np.uint8
    )
    top = int(rng.integers(0, image.shape[0] - height + 1))
    left = int(rng.integers(0, image.shape[1] - width + 1))
    return image[top : top + height, left : left + width]


def draw_corner(person: tuple[int, int], canvas: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    """Top-left corner (top, left) for a person of (height, width): inside the canvas, or across one of its edges."""
    (height, width), (rows, columns) = person, canvas
    # feet in the lower half where the height allows it: a ground, not a sky
    top = int(rng.integers(min(max(0, rows // 2 - height), rows - height), rows - height + 1))
    left = int(rng.integers(min(0, columns - width), max(0, columns - width) + 1))
    if rng.random() < CROSSING:
        edge = int(rng.integers(3))
        if edge == 0:
            left = -int(rng.integers(width // 10, width // 2 + 1))
        elif edge == 1:
            left = columns - width + int(rng.integers(width // 10, width // 2 + 1))
        else:
            top = rows - height + int(rng.integers(height // 10, height // 2 + 1))
    return top, left


def place(person: CutOut, canvas: tuple[int, int], rng: np.random.Generator) -> Placed:
    """Scale a person to a random height and put them on an empty canvas of (height, width)."""
    height = round(float(rng.uniform(*HEIGHTS)) * canvas[0])
    scale = height / person.labels.shape[0]
    size = (max(2, round(person.labels.shape[1] * scale)), height)
    area = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(person.image, size, interpolation=area)
    labels = cv2.resize(person.labels, size, interpolation=cv2.INTER_NEAREST_EXACT)
    alpha = cv2.resize((person.labels != 0).astype(np.float32), size, interpolation=area)
    whole_area = int((alpha >= 0.5).sum())
    top, left = draw_corner((size[1], size[0]), canvas, rng)
    # a shift by whole pixels: the warp only cuts at the edges and copies
    shift = np.array([[1, 0, left], [0, 1, top]], np.float32)
    extent = (canvas[1], canvas[0])
    paint = cv2.warpAffine(image, shift, extent, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.GaussianBlur(cv2.warpAffine(alpha, shift, extent, flags=cv2.INTER_NEAREST), (3, 3), 0)
    labels = cv2.warpAffine(labels, shift, extent, flags=cv2.INTER_NEAREST)
    return Placed(
        person.source,
        top + height,
        np.asarray(paint, np.uint8),
        np.asarray(labels, np.uint8),
        np.asarray(alpha, np.float32),
        whole_area,
    )


def visible_fractions(people: list[Placed]) -> list[float]:
    """For people from back to front: the part of each person's own mask that can be seen."""
    fractions = []
    for index, person in enumerate(people):
        seen = person.mask
        for nearer in people[index + 1 :]:
            seen = seen & ~nearer.mask
        fractions.append(min(1.0, float(seen.sum()) / max(1, person.whole_area)))
    return fractions


def arrange(cut_outs: list[CutOut], canvas: tuple[int, int], rng: np.random.Generator) -> list[Placed]:
    """Place every cut-out so that each stays visible enough; back to front. Draws again until that holds."""
    for _ in range(200):
        people: list[Placed] = []
        for person in cut_outs:
            for _ in range(40):
                trial = sorted([*people, place(person, canvas, rng)], key=lambda placed: placed.bottom)
                if min(visible_fractions(trial)) >= LEAST_VISIBLE:
                    people = trial
                    break
        if len(people) == len(cut_outs):
            return people
    raise RuntimeError(f"no place found for {len(cut_outs)} people on a canvas of {canvas}; try another --seed")


def compose(
    background: NDArray[np.uint8], people: list[Placed]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Paint people from back to front.

    Returns:
        (image uint8 [H,W,3], labels uint8 [H,W], instances uint8 [H,W] with k = position + 1).
    """
    image = background.astype(np.float32)
    labels = np.zeros(background.shape[:2], np.uint8)
    instances = np.zeros_like(labels)
    for k, person in enumerate(people, 1):
        alpha = person.alpha[..., None]
        image = person.image * alpha + image * (1 - alpha)
        labels[person.mask] = person.labels[person.mask]
        instances[person.mask] = k
    return np.rint(image).clip(0, 255).astype(np.uint8), labels, instances


def describe(
    people: list[Placed], instances: NDArray[np.uint8], image_id: int, first_id: int
) -> list[dict[str, object]]:
    """COCO annotations of the people in one composite."""
    rows: list[dict[str, object]] = []
    fractions = visible_fractions(people)
    for k, (person, fraction) in enumerate(zip(people, fractions, strict=True), 1):
        ys, xs = np.nonzero(instances == k)
        left, top, right, bottom = int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1
        rows.append(
            {
                "id": first_id + k - 1,
                "image_id": image_id,
                "category_id": 1,
                "bbox": [left, top, right - left, bottom - top],
                "area": len(xs),
                "iscrowd": 0,
                "instance": k,
                "visible": round(fraction, 4),
                "source": person.source,
            }
        )
    return rows


def write_crowd_test(data: Path, out: Path, *, seed: int = 0, count: int = 200) -> None:
    """Write `count` composites of the people and backgrounds under `data` into `out` (emptied first).

    Raises:
        FileNotFoundError: `data` lacks ccp.
        DatasetError: it lacks backgrounds, or a picture or a label map is missing or damaged.
    """
    cut_outs = read_cut_outs(data / "ccp")
    backgrounds = background_photos(data / "backgrounds", validation=True)
    if not cut_outs:
        raise DatasetError(f"{data / 'ccp'}: no label map here holds a whole person")
    for name in ("images", "labels", "instances"):
        shutil.rmtree(out / name, ignore_errors=True)
        (out / name).mkdir(parents=True)
    rng = np.random.default_rng(seed)
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for index in range(count):
        canvas = CANVASES[int(rng.integers(len(CANVASES)))]
        path = backgrounds[int(rng.integers(len(backgrounds)))]
        background = read_background(path)
        number = min(int(rng.integers(1, MOST_PEOPLE + 1)), len(cut_outs))
        chosen = [cut_outs[i] for i in rng.choice(len(cut_outs), number, replace=False)]
        people = arrange(chosen, canvas, rng)
        image, labels, instances = compose(fit_background(background, canvas, rng), people)
        stem = f"{index:03d}"
        cv2.imwrite(str(out / "images" / f"{stem}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        cv2.imwrite(str(out / "labels" / f"{stem}.png"), labels)
        cv2.imwrite(str(out / "instances" / f"{stem}.png"), instances)
        record = {"id": index, "file_name": f"{stem}.jpg", "height": canvas[0], "width": canvas[1]}
        images.append({**record, "background": path.name})
        annotations += describe(people, instances, index, len(annotations))
    document = {
        "info": {"description": f"crowd test, {count} composites, seed {seed}", "people": len(annotations)},
        "categories": [{"id": 1, "name": "person"}],
        "images": images,
        "annotations": annotations,
    }
    (out / "annotations.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def render_synthetic_test(data: Path, out: Path, *, seed: int) -> None:
    """Have `parsing-rcnn render` write the synthetic test: bodies, skins, poses and backgrounds that are held out.

    Raises:
        subprocess.CalledProcessError: it could not; it has said why.
    """
    command = [sys.executable, "-m", "parsing_rcnn", "render", "--held-out", "--out", str(out)]
    command += ["--count", str(SYNTHETIC_COUNT), "--seed", str(seed), "--assets", str(data / "makehuman_cc0")]
    command += ["--backgrounds", str(data / "backgrounds")]
    for size in SYNTHETIC_SIZES:
        command += ["--size", size]
    subprocess.run(command, check=True)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.make_eval", description="Write the crowd test and, on demand, the synthetic test."
    )
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="folder that holds ccp and backgrounds"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("data/eval/crowd"), help="folder to write (its files are replaced)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=200, help="number of composites")
    parser.add_argument(
        "--synthetic",
        type=Path,
        metavar="FOLDER",
        help="also render the synthetic test there: 300 pictures of people that training never draws (needs the "
        "training environment and --data with makehuman_cc0)",
    )
    options = parser.parse_args(arguments)
    try:
        if options.synthetic is not None:
            render_synthetic_test(options.data, options.synthetic, seed=options.seed)
        write_crowd_test(options.data, options.out, seed=options.seed, count=options.count)
    except (DatasetError, FileNotFoundError, RuntimeError, subprocess.CalledProcessError) as error:
        print(f"make_eval: {error}", file=sys.stderr)
        return 1
    print(f"{options.count} composites in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
