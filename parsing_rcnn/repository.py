"""Where the model files are, and the card that describes them."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from parsing_rcnn.analyzer import ModelInfo
from parsing_rcnn.card import CARD, Unreadable, fault, read, taxonomy_of, trained_in
from parsing_rcnn.errors import BrokenModel, ModelNotFound
from parsing_rcnn.models import Canvases, SecondSize, default_of, name_of, sizes_of
from parsing_rcnn.taxonomy import Taxonomy

__all__ = ["CARD", "ENVIRONMENT", "GRAPHS", "ModelRepository"]

GRAPHS = ("detector", "parsing", "densepose_head")
ENVIRONMENT = "PARSING_RCNN_REPOSITORY"


@dataclass(frozen=True)
class ModelRepository:
    """A folder in Triton's layout with a model card.

    Attributes:
        path: the folder.
        card: the model card.
        model: which of the card's `models` to run: the same weights at other sizes. None: the card's own.
    """

    path: Path
    card: Mapping[str, Any]
    model: str | None = None

    @classmethod
    def open(cls, path: str | Path | None = None, model: str | None = None) -> ModelRepository:
        """Find and read a repository.

        The first of these that is given or exists: `path`, the environment variable PARSING_RCNN_REPOSITORY, the
        clone around this package, the wheel's share folder.

        Raises:
            ModelNotFound: no repository, one without its card or a graph, a card that cannot be read or lacks
                something, or one without this model.
            BrokenModel: a file is not the one that the card describes.
        """
        found = _locate(path)
        card = _read_card(found / CARD)
        for name in GRAPHS:
            if not (found / name / "1" / "model.onnx").is_file():
                raise ModelNotFound(f"{found / name}/1/model.onnx is missing; `parsing-rcnn export` writes it")
        _check_files(found, card)
        known = card.get("models", {})
        if model is not None and model not in known:
            choices = ", ".join(known) or "none by name"
            raise ModelNotFound(f"{found}: no model {model!r} here; --model takes {choices}")
        return cls(found, card, model)

    def graph(self, name: str, precision: str = "fp32") -> Path:
        """The ONNX file of a graph (version 1); for "int8" its quantised file, if `parsing-rcnn quantize` made one."""
        quantised = _quantised_files(self.card).get(name)
        if precision == "int8" and quantised is not None:
            return self.path / str(quantised["file"])
        return self.path / name / "1" / "model.onnx"

    def read(self, file: Path) -> bytes:
        """The bytes of a file. They are compared with the card again, as the file may have been replaced since `open`.

        Raises:
            ModelNotFound: it cannot be read.
            BrokenModel: it is not the file that the card describes.
        """
        try:
            data = file.read_bytes()
        except OSError as error:
            raise _unreadable(file, error) from error
        expected = dict(_sums(self.path, self.card)).get(file)
        if expected is not None and hashlib.sha256(data).hexdigest() != expected:
            raise _another(file)
        return data

    @property
    def quantised(self) -> tuple[str, ...]:
        """Names of the graphs that also exist in INT8 (made by `parsing-rcnn quantize`)."""
        return tuple(_quantised_files(self.card))

    @property
    def quantised_for(self) -> str:
        """What runs the INT8 graphs: "cpu" (activations in uint8) or "tensorrt" (in int8); "" if there are none."""
        if not self.quantised:
            return ""
        return "tensorrt" if self.card["quantization"].get("activations") == "int8" else "cpu"

    @property
    def weight_bits(self) -> int:
        """Bits of the weights in the INT8 graphs: 7, with which CPUs without VNNI can compute, or 8."""
        return int(self.card.get("quantization", {}).get("weight_bits", 8))

    @property
    def canvases(self) -> Canvases:
        """(height, width) of the network inputs."""
        return sizes_of(self.card, self.model).canvases

    @property
    def second_size(self) -> SecondSize | None:
        """The second size at which the chosen model sees every picture; None if it has one size only."""
        return sizes_of(self.card, self.model).second

    @property
    def name(self) -> str:
        """Name of the weights, and of the model if one was chosen."""
        return name_of(self.card, self.model)

    @cached_property
    def taxonomy(self) -> Taxonomy:
        """Names and colours of the part classes. They are read from the card once, as every picture needs them."""
        return taxonomy_of(self.card)

    @property
    def trained(self) -> dict[str, bool]:
        """Task -> whether its head is trained."""
        return trained_in(self.card)

    def info(self, runtime: str) -> ModelInfo:
        """The description of an engine that runs these files on `runtime`."""
        return ModelInfo(
            name=self.name,
            version=str(self.card["version"]),
            runtime=runtime,
            tasks=self.trained,
            classes=self.taxonomy.classes,
            canvases=self.canvases,
            card=self.card,
            models=tuple(self.card.get("models", {})),
            model=default_of(self.card) if self.model is None else self.model,
        )


def _read_card(path: Path) -> Mapping[str, Any]:
    remedy = "`parsing-rcnn export` writes a repository"
    try:
        card = read(path)
    except Unreadable as error:
        raise ModelNotFound(f"{error}; {remedy}") from error
    kinds = {"name": str, "version": str | int, "taxonomy": str | dict, "canvases": list, "tasks": dict, "files": dict}
    wrong = [key for key, kind in kinds.items() if not isinstance(card, dict) or not isinstance(card.get(key), kind)]
    if wrong:
        raise ModelNotFound(f"{path} lacks {', '.join(wrong)}, or has another type there; {remedy}")
    reason = fault(card)
    if reason is not None:
        raise ModelNotFound(f"{path}: {reason}; {remedy}")
    checked: Mapping[str, Any] = card
    return checked


def _check_files(path: Path, card: Mapping[str, Any]) -> None:
    """Compare the files with the card. Damaged weights would run, and give wrong people: only their hashes tell."""
    for weights, expected in _sums(path, card):
        try:
            with weights.open("rb") as opened:
                actual = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            raise _unreadable(weights, error) from error
        if actual != expected:
            raise _another(weights)


def _sums(path: Path, card: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """(file, SHA-256) of every file of weights that the card names."""
    for entry in (*card["files"].values(), *_quantised_files(card).values()):
        try:
            yield path / entry["file"], entry["sha256"]
        except (KeyError, TypeError):
            raise ModelNotFound(f"{path / CARD}: {entry!r} describes no file: it lacks file or sha256") from None


def _quantised_files(card: Mapping[str, Any]) -> Mapping[str, Any]:
    """Graph -> the card's entry of its INT8 file."""
    files: Mapping[str, Any] = card.get("quantization", {}).get("files", {})
    return files


def _unreadable(file: Path, error: OSError) -> ModelNotFound:
    return ModelNotFound(f"{file}: {error.strerror}; {CARD} names it, `parsing-rcnn export` writes it")


def _another(file: Path) -> BrokenModel:
    return BrokenModel(file, f"it is not the file of {CARD}, but has another SHA-256")


def _locate(given: str | Path | None) -> Path:
    if given is None and os.environ.get(ENVIRONMENT):
        given = os.environ[ENVIRONMENT]
    if given is not None:
        path = Path(given)
        if not path.is_dir():
            raise ModelNotFound(f"{path}: no such model repository; give --repository a folder with {CARD}")
        return path
    clone = Path(__file__).resolve().parent.parent / "model_repository"
    share = Path(sys.prefix) / "share" / "parsing-rcnn" / "model_repository"
    for candidate in (clone, share):
        if (candidate / CARD).is_file():
            return candidate
    raise ModelNotFound(f"no model repository in {clone} or {share}; give --repository or set {ENVIRONMENT}")
