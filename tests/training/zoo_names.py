"""Weights by the names of Parsing R-CNN's zoo, written down a second time, and names of others with no weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from tests.training.detectron2_reference import Variant


def flat(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """One number in the whole of each tensor, which its file holds once: where a test says nothing about values."""
    generator = torch.Generator().manual_seed(5)
    return {name: torch.rand((), generator=generator).expand(shape) for name, shape in shapes.items()}


def of_torchvision(builder: Callable[[], torch.nn.Module]) -> dict[str, Tensor]:
    """The names and shapes of a network, which is not built with its weights."""
    with torch.device("meta"):
        state = builder().state_dict()
    counters = {name: torch.zeros((), dtype=value.dtype) for name, value in state.items() if not value.ndim}
    return flat({name: tuple(value.shape) for name, value in state.items()}) | counters


def zoo_state(*, norms: bool = False, classes: int = 20, even: bool = False) -> dict[str, Tensor]:
    """A parser with ResNet-50. `norms`: with group norms in its branch (GCE_HEAD.USE_GN), which has no biases then.

    `even`: see `flat`.
    """
    state: dict[str, Tensor] = {}
    for name, value in (flat(Variant().shapes()) if even else Variant().state()).items():
        if name.startswith("backbone.bottom_up.") and not name.endswith(("running_mean", "running_var")):
            own = name.removeprefix("backbone.bottom_up.").replace("stem.conv1.norm", "bn1").replace("stem.", "")
            for stage in range(2, 6):
                own = own.replace(f"res{stage}.", f"layer{stage - 1}.")
            own = own.replace("shortcut.norm", "downsample.1").replace("shortcut", "downsample.0")
            for index in (1, 2, 3):
                own = own.replace(f"conv{index}.norm", f"bn{index}")
            state[f"Conv_Body.{own}"] = value
    generator = torch.Generator().manual_seed(5)

    def drawn(*shape: int) -> Tensor:
        values = 0.02 * torch.randn(() if even else shape, generator=generator)
        return values.expand(shape)

    def layer(name: str, *shape: int, norm: bool = False) -> None:
        state[f"{name}.weight"] = drawn(*shape)
        if norm:
            layer(f"{name.removesuffix('.0')}.1", shape[0])
        else:
            state[f"{name}.bias"] = drawn(shape[0])

    layer("Conv_Body_FPN.p5_in", 256, 2048, 1, 1)
    layer("Conv_Body_FPN.p5_out", 256, 256, 3, 3)
    for index, width in enumerate((1024, 512, 256)):
        layer(f"Conv_Body_FPN.fpn_in.{index}", 256, width, 1, 1)
        layer(f"Conv_Body_FPN.fpn_out.{index}", 256, 256, 3, 3)
    layer("RPN.head.conv", 256, 256, 3, 3)
    layer("RPN.head.cls_logits", 3, 256, 1, 1)
    layer("RPN.head.bbox_pred", 12, 256, 1, 1)
    layer("Fast_RCNN.Head.fc6", 1024, 256 * 49)
    layer("Fast_RCNN.Head.fc7", 1024, 1024)
    layer("Fast_RCNN.Output.cls_score", 2, 1024)
    layer("Fast_RCNN.Output.bbox_pred", 8, 1024)
    head = "Parsing_RCNN.Head"
    for index, kernel in enumerate((1, 3, 3, 3)):
        layer(f"{head}.asppv3.{index}.0", 256, 256, kernel, kernel, norm=norms)
    layer(f"{head}.im_pool.1.0", 256, 256, 1, 1, norm=norms)
    layer(f"{head}.feat.0.0", 512, 1280, 1, 1, norm=norms)
    for name in ("theta", "phi", "g", "out"):
        layer(f"{head}.feat.1.{name}", 512, 512, 1, 1)
    layer(f"{head}.feat.1.gn", 512)
    for index in range(4):
        layer(f"{head}.conv_after_asppv3.{index}.0", 512, 512, 3, 3, norm=norms)
    state["Parsing_RCNN.Output.parsing_score_lowres.weight"] = torch.randn(512, classes, 4, 4, generator=generator)
    state["Parsing_RCNN.Output.parsing_score_lowres.bias"] = torch.zeros(classes)
    return state
