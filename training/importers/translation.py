"""What translating any source needs: tensors under new names, their recipe, and which ResNet the backbone is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from parsing_rcnn.own_classes import BUILT_IN
from training.config import Config, load_config
from training.errors import CheckpointError

Tensors = Mapping[str, Tensor]

_PROFILES = Path(__file__).parents[1] / "configs" / "profiles"
_BLOCKS_OF = {6: "resnet50", 23: "resnet101"}  # blocks of the third stage
_NORM = ("weight", "bias", "running_mean", "running_var")


@dataclass
class Translation:
    """A source's tensors by this network's names.

    Attributes:
        recipe: of the network that they fit.
        tensors: this network's name -> value.
        used: names of the source's tensors that went into them.
        remarks: where the two networks differ.
    """

    recipe: Config
    tensors: dict[str, Tensor] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    remarks: list[str] = field(default_factory=list)

    def take(self, found: Tensors, theirs: str, own: str, change: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        """Translate one tensor, if the source holds it."""
        if theirs in found:
            self.tensors[own] = change(found[theirs])
            self.used.add(theirs)

    def layer(self, found: Tensors, theirs: str, own: str) -> None:
        """Weight and bias of one layer."""
        for key in ("weight", "bias"):
            self.take(found, f"{theirs}.{key}", f"{own}.{key}")

    def norm(self, found: Tensors, theirs: str, own: str, eps: float, *, affine: bool = False) -> None:
        """A batch norm.

        Args:
            eps: the source's; the weight is changed to compute the same with this network's 1e-5.
            affine: if the file has no statistics, the norm is an affine map (mean 0, variance 1).
        """
        for key in _NORM:
            self.take(found, f"{theirs}.{key}", f"{own}.{key}")
        weight = self.tensors.get(f"{own}.weight")
        if weight is None:
            return
        if affine and f"{own}.running_var" not in self.tensors:
            self.tensors[f"{own}.running_mean"] = torch.zeros_like(weight)
            self.tensors[f"{own}.running_var"] = torch.ones_like(weight)
        elif eps != 1e-5 and f"{own}.running_var" in self.tensors:
            variance = self.tensors[f"{own}.running_var"].double()
            self.tensors[f"{own}.weight"] = (
                weight * ((variance + 1e-5) / (variance + eps).clamp(min=1e-30)).sqrt()
            ).float()
        self.tensors[f"{own}.num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
        self.used.update({f"{theirs}.num_batches_tracked"} & found.keys())


def depth(found: Tensors, pattern: str, grouped: str) -> str:
    """The ResNet or ResNeXt whose third stage has as many blocks, and groups as wide, as the file.

    Args:
        pattern: of the tensor names of the third stage; group 1 is the number of the block.
        grouped: the name of the first 3x3 convolution.

    Raises:
        CheckpointError: it is none that is known here.
    """
    blocks = {int(m[1]) for name in found if (m := re.match(pattern, name))}
    member = _BLOCKS_OF.get(len(blocks))
    if member is None:
        raise CheckpointError(
            f"a backbone with {len(blocks)} blocks in its third stage is not known here, only 6 and 23"
        )
    outputs, inputs = found[grouped].shape[:2] if grouped in found else (1, 1)
    if outputs == inputs:
        return member
    if member == "resnet101" and (outputs, inputs) == (256, 8):
        return "resnext101_32x8d"
    raise CheckpointError(f"a ResNeXt with groups of {inputs} channels is not known here, only ResNeXt-101 32x8d")


def recipe_of(
    profile: str | None, name: str, model: dict[str, object], *, parsing: bool = False, densepose: bool = False
) -> Config:
    """The recipe of a profile in configs/profiles (None: of the paper), with `model` over the keys of its network.

    A file of weights has no names of classes: their number, `parsing_classes`, says whose they are.

    Raises:
        CheckpointError: this network cannot be built so.
    """
    config = load_config(_PROFILES / f"{profile}.yaml") if profile else Config()
    document = config.model_dump()
    document["name"] = name
    document["data"] |= {"test_short_side": 800, "test_longest_side": 1333, "test_padding": "mean"}  # all three test so
    document["train"] |= {"parsing": parsing, "densepose": densepose}
    classes = model.get("parsing_classes")
    if classes is not None:
        counts = {len(taxonomy): f"{taxonomy.name} has {len(taxonomy)}" for taxonomy in BUILT_IN.values()}
        if classes not in counts:
            raise CheckpointError(
                f"this network cannot be the file's, where model.parsing_classes is {classes}: {classes} classes are "
                f"of no taxonomy here ({', '.join(counts.values())}), and a file of weights does not say what its "
                "classes are called; import weights of one of these, and train on your own classes from them"
            )
        del document["model"]["taxonomy"]  # the profile's
    for key, value in model.items():
        document["model"][key] = {**document["model"][key], **value} if isinstance(value, dict) else value
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where, said = ".".join(str(part) for part in first["loc"]), first["msg"].removeprefix("Value error, ")
        raise CheckpointError(
            f"this network cannot be the file's, where {where} is {first['input']}: {said}"
        ) from error
