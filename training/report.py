"""What a run leaves for people to look at: its curves, and a sheet of its answers on held-out pictures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn import draw
from training.config import Config
from training.curves import plot_curves
from training.data.datasets.check import find_datasets
from training.data.datasets.records import Reader, read_pixels
from training.data.groups import GroupPhotos
from training.data.sources import LabelledPhotos, RenderedPeople
from training.engine import TorchAnalyzer, load_checkpoint
from training.errors import DatasetError
from training.files import write_png
from training.tiles import tile

_TILE = 288  # pixels, both sides of a picture's place on the sheet
_COLUMNS = 6
_PICTURES = 24


def write_report(run: Path, pictures: Sequence[Path]) -> None:
    """Write curves.png into the folder of a run and, of `pictures` (see `sheet_pictures`), sheet.png.

    Without log.jsonl, where only state.pt was taken along, there are no curves, which is said on standard error. The
    sheet shows what the average weights find on each of the pictures, once for every trained branch. A picture that
    cannot be read is left out, and named on standard error.

    Raises:
        OutputError: a file cannot be written.
        CheckpointError: the weights of the run cannot be read.
    """
    log = run / "log.jsonl"
    if log.is_file():
        plot_curves(log, run / "curves.png")
    else:
        print(f"there is no curves.png: it is drawn from {log}, which is not there", file=sys.stderr)
    if not pictures:
        return
    analyzer = TorchAnalyzer(*load_checkpoint(run / "weights.safetensors"))
    tasks = analyzer.info.tasks
    tiles = []
    for path in pictures:
        try:
            image = read_pixels(path)
        except DatasetError as error:
            print(f"sheet.png goes without a picture: {error}", file=sys.stderr)
            continue
        people = analyzer.analyze(image)
        if tasks["parsing"]:
            tiles.append(tile(people.draw(image), _TILE))
        if tasks["densepose"]:
            tiles.append(tile(draw.iuv(people, image), _TILE))
    if tiles:
        _write_tiles(tiles, run / "sheet.png")


def sheet_pictures(config: Config, data: Path) -> list[Path]:
    """Up to 24 pictures for the sheet of a run: held-out photos of `data`/ccp and `data`/groups.

    Without ccp: of the validation splits in the folders of `data.annotated`; without those, of `data.rendered`, where
    they may be people that the run has trained on. Datasets that cannot be read are passed over. There are none where
    neither parts nor IUV are trained: keypoints are not painted.
    """
    if not (config.train.parsing or config.train.densepose):
        return []
    return _photos(data) or _annotated(config) or _rendered(config.data.rendered)


def _photos(data: Path) -> list[Path]:
    half = _PICTURES // 2
    pictures: list[Path] = []
    if (data / "ccp" / "images").is_dir():
        with suppress(DatasetError):
            pictures += LabelledPhotos.open(data / "ccp", validation=True).images[::9][:half]
    if pictures and (data / "groups" / "annotations.json").is_file():
        with suppress(DatasetError):
            pictures += GroupPhotos.open(data / "groups", validation=True).images[::27][:half]
    return pictures


def _annotated(config: Config) -> list[Path]:
    """Evenly spaced pictures of each validation split; broken records are left out."""
    readers: list[Reader] = []
    for folder in config.data.annotated:
        with suppress(DatasetError):
            found = find_datasets(folder, taxonomy=config.model.taxonomy) if folder.is_dir() else []
            readers += [reader for reader in found if reader.validation]
    pictures: list[Path] = []
    for reader in readers:
        for index in _evenly(len(reader), max(1, _PICTURES // len(readers))):
            with suppress(DatasetError):
                pictures.append(reader.read(index).image)
    return pictures[:_PICTURES]


def _rendered(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    with suppress(DatasetError):
        people = RenderedPeople.open(folder)
        return [folder / "Images" / f"{people.stems[i]}.jpg" for i in _evenly(len(people.stems), _PICTURES)]
    return []


def _evenly(length: int, count: int) -> list[int]:
    """At most `count` indices, evenly spaced over a sequence of this length."""
    return [int(index) for index in np.linspace(0, length - 1, min(length, count))]


def _write_tiles(tiles: list[NDArray[np.uint8]], out: Path) -> None:
    """Write RGB tiles as a sheet, a PNG; the rest of its last row is white."""
    blank = np.full((_TILE, _TILE, 3), 255, np.uint8)
    tiles = tiles + [blank] * (-len(tiles) % _COLUMNS)
    rows = [np.hstack(tiles[i : i + _COLUMNS]) for i in range(0, len(tiles), _COLUMNS)]
    write_png(out, np.asarray(cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR), np.uint8))
