"""The parity report: torch against every runtime that is installed, on rendered and on real pictures."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.graphs import DensePoseGraph, DetectorGraph, ParsingGraph
from export.pictures import render_scene
from parsing_rcnn.codecs.image import decode
from parsing_rcnn.geometry import fit
from parsing_rcnn.repository import ModelRepository
from parsing_rcnn.runtime import Runtime, openvino_core
from training.checkpoint import load_model
from training.model.parsing_rcnn import ParsingRCNN

BOX_LIMIT = 0.1  # canvas pixels
SCORE_LIMIT = 1e-3
LABEL_LIMIT = 0.999
_LIMITS = np.array([0.05, 16], np.float32)

Tensors = dict[str, NDArray[Any]]


@dataclass
class Difference:
    """One runtime against torch over all pictures.

    Attributes:
        people: found by torch; unmatched: of these and of the runtime's, those with no partner (IoU >= 0.9).
        box: largest difference of a coordinate in canvas pixels; box_median: the median person's.
        score, part_score: largest differences.
        parts, iuv: fraction of equal pixels of the label maps and of the part index of IUV.
        uv: largest difference of U or V (0..255) where the part index agrees.
        held: whether the limits of the fp32 contract hold.
    """

    runtime: str
    people: int
    unmatched: int
    box: float
    box_median: float
    score: float
    part_score: float
    parts: float
    iuv: float
    uv: float
    held: bool


class TorchReference:
    """The three graphs in eager torch, fp32."""

    def __init__(self, model: ParsingRCNN) -> None:
        self.detector = DetectorGraph(model).eval()
        self.parsing = ParsingGraph(model).eval()
        self.densepose = DensePoseGraph(model).eval()

    @torch.inference_mode()
    def run(self, canvas: NDArray[np.uint8]) -> Tensors:
        """All output tensors of one canvas."""
        boxes, scores, count, features = self.detector(torch.from_numpy(canvas), torch.from_numpy(_LIMITS))
        parts, part_scores, _ = self.parsing(features)
        iuv = self.densepose(features)
        return _cut(
            {
                "BOXES": boxes.numpy(),
                "SCORES": scores.numpy(),
                "COUNT": count.numpy(),
                "PARTS": parts.numpy(),
                "PART_SCORES": part_scores.numpy(),
                "IUV": iuv.numpy(),
            }
        )


def run_runtime(runtime: Runtime, canvas: NDArray[np.uint8]) -> Tensors:
    """The same tensors from an ONNX runtime."""
    found = runtime.detector(canvas, _LIMITS)
    heads = runtime.parsing(found["ROI_FEATURES"], probabilities=False)
    return _cut({**found, **heads, **runtime.densepose(found["ROI_FEATURES"])})


def _cut(tensors: Tensors) -> Tensors:
    count = int(tensors["COUNT"][0])
    return {name: value[:count] for name, value in tensors.items() if name not in ("COUNT", "ROI_FEATURES")}


def pictures(repository: ModelRepository, photos: Path | None, count: int) -> list[NDArray[np.uint8]]:
    """Canvases: six rendered scenes of every shape and, where a folder is given, up to `count` of its photos."""
    sizes = ((480, 640), (640, 480), (512, 512), (360, 640), (720, 400), (300, 300))
    images = [render_scene(seed, h, w, people=seed % 4) for seed, (h, w) in enumerate(sizes)]
    if photos is not None:
        found = sorted(p for p in photos.rglob("*.jpg"))
        step = max(1, len(found) // count)
        images += [decode(path.read_bytes()) for path in found[::step][:count]]
    return [fit(image, repository.canvases)[0] for image in images]


def _iou(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.prod(np.clip(high - low, 0, None), -1)
    area_a, area_b = np.prod(a[:, 2:] - a[:, :2], -1), np.prod(b[:, 2:] - b[:, :2], -1)
    return np.asarray(inter / np.maximum(area_a[:, None] + area_b[None] - inter, 1e-9), np.float64)


def compare(name: str, reference: list[Tensors], answers: list[Tensors]) -> Difference:
    """Match people of each picture by IoU and take the differences of the matched ones."""
    boxes, scores, part_scores, parts, index, uv = [], [], [], [], [], []
    people = unmatched = 0
    for want, got in zip(reference, answers, strict=True):
        people += len(want["BOXES"])
        unmatched += len(want["BOXES"]) + len(got["BOXES"])
        if not len(want["BOXES"]) or not len(got["BOXES"]):
            continue
        overlap = _iou(want["BOXES"], got["BOXES"])
        for i, j in enumerate(overlap.argmax(1)):
            if overlap[i, j] < 0.9 or overlap[:, j].argmax() != i:
                continue
            unmatched -= 2
            boxes.append(np.abs(want["BOXES"][i] - got["BOXES"][j]).max())
            scores.append(abs(want["SCORES"][i] - got["SCORES"][j]))
            part_scores.append(np.abs(want["PART_SCORES"][i] - got["PART_SCORES"][j]).max())
            parts.append((want["PARTS"][i] == got["PARTS"][j]).mean())
            same = want["IUV"][i, 0] == got["IUV"][j, 0]
            index.append(same.mean())
            values = np.abs(want["IUV"][i, 1:].astype(int) - got["IUV"][j, 1:].astype(int))[:, same]
            uv.append(values.max() if values.size else 0)

    def worst(values: list[Any]) -> float:
        return float(max(values)) if values else 0.0

    def mean(values: list[Any]) -> float:
        return float(np.mean(values)) if values else 1.0

    box, score, equal = worst(boxes), worst(scores), mean(parts)
    held = people > 0 and unmatched == 0 and box <= BOX_LIMIT and score <= SCORE_LIMIT and equal >= LABEL_LIMIT
    median = float(np.median(boxes)) if boxes else 0.0
    return Difference(
        name, people, unmatched, box, median, score, worst(part_scores), equal, mean(index), worst(uv), bool(held)
    )


def verify(
    repository: Path | None, photos: Path | None = None, count: int = 24, checkpoint: Path | None = None
) -> dict[str, Any]:
    """Run torch and every installed runtime over the pictures.

    Args:
        repository: the model files.
        photos: a folder of JPEGs, searched recursively.
        count: how many of them.
        checkpoint: weights to compare with instead of those read back from the repository; they are rounded to
            fp16 as the export rounds them.

    Returns:
        The report: per runtime and precision the differences; `passed` is about fp32.
    """
    opened = ModelRepository.open(repository)
    model, _ = load_model(opened.path)
    if checkpoint is not None:
        _load_rounded(checkpoint, model)
    canvases = pictures(opened, photos, count)
    reference = [TorchReference(model).run(c) for c in canvases]
    rows = []
    for kind, precision in _installed():
        runtime = Runtime(opened, kind, precision)
        rows.append(compare(runtime.name, reference, [run_runtime(runtime, c) for c in canvases]))
    checked = [r for r in rows if r.runtime.endswith("fp32")]
    return {
        "model": {"name": opened.card["name"], "version": opened.card["version"]},
        "pictures": {"rendered": 6, "photos": len(canvases) - 6},
        "limits": {"box_px": BOX_LIMIT, "score": SCORE_LIMIT, "labels_equal": LABEL_LIMIT},
        "runtimes": [asdict(r) for r in rows],
        "passed": bool(checked) and all(r.held for r in checked),
    }


def _installed() -> list[tuple[str, str]]:
    found = []
    if find_spec("onnxruntime") is not None:
        found.append(("onnxruntime", "fp32"))
    if find_spec("openvino") is not None:
        found.append(("openvino", "fp32"))
        if "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            found.append(("openvino", "bf16"))
    return found


def _load_rounded(checkpoint: Path, model: ParsingRCNN) -> None:
    from safetensors.torch import load_file

    def rounded(value: torch.Tensor) -> torch.Tensor:
        half = value.dtype == torch.float32 and value.ndim >= 2 and value.numel() >= 256
        return value.half().float() if half else value

    model.load_state_dict({k: rounded(v) for k, v in load_file(checkpoint).items()})


def to_markdown(report: dict[str, Any]) -> str:
    """The report as a page."""
    shown = report["pictures"]
    lines = [
        "# Parity report",
        "",
        f"Model `{report['model']['name']}` {report['model']['version']}; {shown['rendered']} rendered scenes, "
        f"{shown['photos']} photos. Reference: torch eager fp32, end to end from the same canvas.",
        "Repeat with `parsing-rcnn verify --photos FOLDER`.",
        "",
        "| runtime | people | unmatched | box px (worst / median) | score | part score | labels equal | I equal | U,V "
        "| fp32 contract |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in report["runtimes"]:
        contract = ("held" if r["held"] else "**broken**") if r["runtime"].endswith("fp32") else "not asked of bf16"
        lines.append(
            f"| {r['runtime']} | {r['people']} | {r['unmatched']} | {r['box']:.4f} / {r['box_median']:.4f} "
            f"| {r['score']:.5f} | {r['part_score']:.5f} | {100 * r['parts']:.3f} % | {100 * r['iuv']:.3f} % "
            f"| {r['uv']:.0f}/255 | {contract} |"
        )
    limit = report["limits"]
    lines += [
        "",
        f"fp32 contract: boxes within {limit['box_px']} px, scores within {limit['score']}, labels equal on at least "
        f"{100 * limit['labels_equal']:.1f} % of pixels, nobody unmatched.",
        "",
    ]
    return "\n".join(lines)


def write_report(report: dict[str, Any], out: Path) -> None:
    """Write `out` (Markdown) and the same name with .json."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(to_markdown(report))
    out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
