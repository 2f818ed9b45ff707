"""The parity report as a page, as JSON, and as pictures of the differences (of rendered scenes, never of photos)."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from export import files
from export.parity.comparison import Difference, Tensors
from export.parity.situations import NAMES, Situation
from export.parity.verify import Answers
from parsing_rcnn.codecs import jpeg
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import Taxonomy

_TILE = 160  # pixels, height of a picture of a sheet


def to_markdown(
    report: dict[str, Any], sheets: Sequence[str] = (), out: Path | None = None, repository: Path | None = None
) -> str:
    """The report as a page.

    Args:
        report: what `export.parity.verify.verify` gives.
        sheets: paths of pictures of the differences, relative to the page.
        out: where the page is written, for the command in it.
        repository: the one given on the command line, for the command in it; None: the shipped one.
    """
    model = report["model"]
    verdict = "**Held.**" if report["passed"] else "**Broken.**"
    lines = [
        "# Parity report",
        "",
        f"{verdict} Model `{model['name']}` {model['version']}, {model['precision']} graphs. "
        f"Reference: {report['reference']}, eager.",
        "Every runtime goes end to end from the same canvas: its own boxes, its own RoI features. Repeat with",
        f"`{_command(report, out, repository)}`; `--photos FOLDER` adds photos, `--data FOLDER` mIoU on labelled",
        "ones, `--also REPOSITORY` the same weights in another precision.",
        "",
        *_situations(report),
        *_against_reference(report),
        *_matrix(report),
        *_miou(report["miou"]),
        *_tolerances(report),
    ]
    lines += [f"- {name}: {reason}." for name, reason in report["absent"].items()] or ["- Nothing."]
    if sheets:
        lines += [
            "",
            "## Pictures of the differences",
            "",
            "Rendered scenes: the reference's parts, the other's, and in red where they differ.",
            "",
            *(f"![{Path(sheet).stem}]({sheet})" for sheet in sheets),
        ]
    return "\n".join([*lines, ""])


def _command(report: dict[str, Any], out: Path | None, repository: Path | None) -> str:
    """The command that gives the page again, but without photos: the page says how to add those."""
    names = [situation["name"] for situation in report["situations"] if situation["rendered"]]
    chosen = [name for name in names if name in NAMES] if names != list(NAMES) else []
    words = [word for name in chosen for word in ("--situation", name)]
    words += ["--repository", str(repository)] if repository is not None else []
    return shlex.join(["parsing-rcnn", "verify", *words, *(["--out", str(out)] if out is not None else [])])


def _situations(report: dict[str, Any]) -> list[str]:
    lines = [
        "## Situations",
        "",
        "| situation | canvases | pictures | people wanted | people found by the reference |",
        "|---|---|---:|---:|---:|",
    ]
    for s in report["situations"]:
        sizes = ", ".join(f"{h}x{w}" for h, w in s["canvases"])
        wanted = "any" if s["people_wanted"] is None else s["people_wanted"]
        lines.append(f"| {s['name']} | {sizes} | {s['pictures']} | {wanted} | {s['people_found']} |")
    return [*lines, ""]


_COLUMNS = (
    "people | unmatched | box px: worst / 99 % / median | score: worst / 99 % | score of a part, of I "
    "| labels equal: all / worst person | I equal | U,V: worst / 99 %"
)


def _cells(difference: dict[str, Any]) -> str:
    d = Difference(**difference)
    return (
        f"{d.people} | {d.unmatched} | {d.box:.4f} / {d.box_p99:.4f} / {d.box_median:.4f} "
        f"| {d.score:.5f} / {d.score_p99:.5f} | {d.part_score:.5f}, {d.iuv_score:.5f} "
        f"| {100 * d.parts:.3f} / {100 * d.parts_worst:.2f} % "
        f"| {100 * d.iuv:.3f} % | {d.uv:.0f} / {d.uv_p99:.0f}"
    )


def _against_reference(report: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for pair in report["pairs"]:
        if pair["first"] != report["reference"]:
            continue
        lines += [
            f"## {pair['second']} against {pair['first']}",
            "",
            f"| situation | {_COLUMNS} |",
            "|---|" + "---:|" * 8,
            *(f"| {name} | {_cells(difference)} |" for name, difference in pair["situations"].items()),
            f"| **all** | {_cells(pair['difference'])} |",
            "",
            f"Limits of {pair['precision']}: {'held' if pair['held'] else '**broken**'}.",
            "",
        ]
    return lines


def _matrix(report: dict[str, Any]) -> list[str]:
    lines = [
        "## Every pair, all situations",
        "",
        f"| first | second | {_COLUMNS} | limits |",
        "|---|---|" + "---:|" * 8 + "---|",
    ]
    for pair in report["pairs"]:
        held = "held" if pair["held"] else "**broken**"
        lines.append(f"| {pair['first']} | {pair['second']} | {_cells(pair['difference'])} | {held} |")
    return [*lines, ""]


def _miou(rows: list[dict[str, Any]] | None) -> list[str]:
    if rows is None:
        return []
    lines = [
        f"## mIoU on {rows[0]['photos']} labelled validation photos",
        "",
        "| | mIoU % | change, points | limit |",
        "|---|---:|---:|---|",
    ]
    for row in rows:
        held = "held" if row["held"] else "**broken**"
        lines.append(f"| {row['name']} | {100 * row['miou']:.2f} | {100 * row['change']:+.3f} | {held} |")
    return [*lines, ""]


def _tolerances(report: dict[str, Any]) -> list[str]:
    lines = [
        "## Limits",
        "",
        "Over all situations together. Two runs that are both coarser than fp32 may lie apart by the sum of theirs.",
        "",
        "| precision | people unmatched | box px: worst / median | score | labels equal | loss of mIoU, points |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, t in report["tolerances"].items():
        worst = "-" if not np.isfinite(t["box"]) else f"{t['box']}"
        lines.append(
            f"| {name} | {100 * t['unmatched']:.0f} % | {worst} / {t['box_median']} | {t['score']} "
            f"| {100 * t['parts']:.1f} % | {100 * report['miou_tolerances'][name]:.2f} |"
        )
    return [*lines, "", "## Not here", ""]


def write_report(
    report: dict[str, Any],
    out: Path,
    found: Answers | None = None,
    situations: Sequence[Situation] = (),
    taxonomy: Taxonomy | None = None,
    repository: Path | None = None,
) -> None:
    """Write `out` (Markdown) and the same name with .json.

    With `found` and `taxonomy` also a sheet of pictures for each runtime, in pictures/ beside the page.

    Raises:
        OutputError: a file cannot be written.
    """
    sheets = []
    if found is not None and taxonomy is not None:
        reference = report["reference"]
        for name in found:
            if name == reference:
                continue
            sheet = difference_sheet(situations, found[reference], found[name], taxonomy)
            path = out.parent / "pictures" / f"{out.stem}_{_slug(name)}.jpg"
            files.write_bytes(path, jpeg.encode_rgb(sheet, 85, "420"))
            sheets.append(str(path.relative_to(out.parent)))
    finite = json.loads(json.dumps(report), parse_constant=lambda _: None)  # JSON knows no infinity
    files.write_report(out, to_markdown(report, sheets, out, repository), finite)


def _slug(name: str) -> str:
    """Part of a file name: runtime and precision without versions, so that a new version replaces the picture."""
    words = [word for word in re.split(r"[^a-z0-9.+]+", name.lower()) if word and not re.fullmatch(r"[\d.+]+", word)]
    return "_".join(words)


def difference_sheet(
    situations: Sequence[Situation],
    reference: Sequence[Sequence[Tensors] | None],
    other: Sequence[Sequence[Tensors] | None],
    taxonomy: Taxonomy,
) -> NDArray[np.uint8]:
    """A sheet uint8 [H,W,3] RGB with a row for every rendered canvas with people: reference, other, their differences.

    Situations that one of the two did not run are left out.
    """
    rows = []
    for situation, ours, theirs in zip(situations, reference, other, strict=True):
        if not situation.rendered or ours is None or theirs is None:
            continue
        for canvas, one, two in zip(situation.canvases, ours, theirs, strict=True):
            if len(one["BOXES"]) or len(two["BOXES"]):
                rows.append(_row(canvas, _labels(canvas, one, taxonomy), _labels(canvas, two, taxonomy), taxonomy))
    if not rows:
        return np.zeros((_TILE, 3 * _TILE, 3), np.uint8)
    width = max(row.shape[1] for row in rows)
    padded = [cv2.copyMakeBorder(r, 0, 4, 0, width - r.shape[1], cv2.BORDER_CONSTANT, value=(255,) * 3) for r in rows]
    return np.asarray(np.vstack(padded), np.uint8)


def _labels(canvas: NDArray[np.uint8], found: Tensors, taxonomy: Taxonomy) -> NDArray[np.uint8]:
    """The label map uint8 [H,W] of everybody on a canvas."""
    height, width = canvas.shape[:2]
    people = People(
        boxes=found["BOXES"],
        scores=found["SCORES"],
        image_size=(height, width),
        parts=found["PARTS"],
        taxonomy=taxonomy,
    )
    return people.label_map()


def _row(
    canvas: NDArray[np.uint8], one: NDArray[np.uint8], two: NDArray[np.uint8], taxonomy: Taxonomy
) -> NDArray[np.uint8]:
    """Three tiles side by side: both label maps over the grey canvas, and in red where they differ."""
    grey = np.repeat(canvas.mean(-1, keepdims=True), 3, -1)
    tiles = [0.5 * grey + 0.5 * taxonomy.palette[labels] for labels in (one, two)]
    tiles.append(np.where((one != two)[..., None], np.array([255, 0, 0], np.float32), 0.5 * grey))
    width = max(1, round(canvas.shape[1] * _TILE / canvas.shape[0]))
    small = [cv2.resize(t.astype(np.uint8), (width, _TILE), interpolation=cv2.INTER_AREA) for t in tiles]
    return np.hstack(small)
