"""Random weights that behave like trained ones, to compare and time networks of sizes that are not shipped.

    python -m training.random_weights training/configs/paper/cihp_r50_1x.yaml --out runs/random_r50

Plain random weights explode through a hundred layers, and near-equal scores make the order of proposals a matter of
rounding. So the network is settled on a picture: every convolution and fully connected layer is scaled so that its
outputs have a standard deviation of one (layer-sequential unit variance, Mishkin and Matas 2016), every batch norm
takes its statistics from the picture, residuals are weighted by 0.3, scores of proposals and boxes are spread as in a
trained network, and the non-local block gets weights other than the zeros with which training starts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from training.checkpoint import save_weights
from training.config import Config, load_config
from training.model.branch import NonLocal
from training.model.parsing_rcnn import ParsingRCNN, build_model

_OBJECTNESS, _SCORE, _DELTA = 1.0, 2.0, 0.5  # standard deviations over a picture
_RESIDUAL = 0.3
_LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


@torch.no_grad()
def random_model(config: Config, canvas: tuple[int, int] = (256, 320), seed: int = 0) -> ParsingRCNN:
    """The network of a recipe with settled random weights, in evaluation mode.

    Args:
        canvas: (height, width) in multiples of 32 of the picture that it is settled on.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(config.model)
        for block in (m for m in model.modules() if isinstance(m, NonLocal)):
            start = block.out if isinstance(block.norm, nn.Identity) else block.norm
            nn.init.normal_(start.weight, std=0.1)
        for block in (m for m in model.modules() if isinstance(m, Bottleneck)):
            nn.init.constant_(block.bn3.weight, _RESIDUAL)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0  # the statistics of this picture alone
    _settle(model.train(), _picture(canvas, generator))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
    return model


def _settle(model: ParsingRCNN, picture: Tensor) -> None:
    seen: set[nn.Module] = set()

    def scale(layer: nn.Module, _: tuple[Tensor, ...], outputs: Tensor) -> Tensor | None:
        if layer in seen:  # one layer serves several levels: the first, the finest, decides
            return None
        seen.add(layer)
        factor = 1 / outputs.std().clamp(min=1e-9)
        layer.weight.mul_(factor)
        if layer.bias is not None:
            layer.bias.mul_(factor)
        return outputs * factor

    hooks = [m.register_forward_hook(scale) for m in model.modules() if isinstance(m, _LAYERS)]
    _pass(model, picture)
    for hook in hooks:
        hook.remove()


def _pass(model: ParsingRCNN, picture: Tensor) -> None:
    """Everything once, in the order of the layers; scores and deltas are spread on the way."""
    height, width = picture.shape[2:]
    pyramid = model.pyramid(picture)
    logits, deltas, anchors = model.rpn(pyramid)
    model.rpn.objectness.weight.mul_(_OBJECTNESS)
    model.rpn.deltas.weight.mul_(_DELTA)
    logits, deltas, anchors = model.rpn(pyramid)
    proposals = model.rpn.propose(
        [x[0] for x in logits], [x[0] for x in deltas], anchors, (height, width), model.config.rpn.proposals_test
    )
    model.box(pyramid, [proposals])
    model.box.score.weight.mul_(_SCORE)
    model.box.delta.weight.mul_(_DELTA)
    features = model.roi_features(pyramid, [proposals[:8]])
    model.parsing(features)
    model.densepose(features)


def _picture(canvas: tuple[int, int], generator: torch.Generator) -> Tensor:
    """RGB 0..255 [1,3,H,W]: patches and fine noise, so that no channel is constant."""
    height, width = canvas
    coarse = 255 * torch.rand(1, 3, height // 32, width // 32, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=canvas, mode="bilinear", align_corners=False)
    return (smooth + 20 * torch.randn(1, 3, height, width, generator=generator)).clamp(0, 255)


def write_random(
    recipe: Path, out: Path, changed: Callable[[Config], Config] = lambda config: config, seed: int = 0
) -> Path:
    """Write `out`/weights.safetensors and its JSON for the recipe at `recipe`, `changed` before use."""
    config = changed(load_config(recipe))
    path = out / "weights.safetensors"
    save_weights(path, random_model(config, seed=seed), config, {"random": {"seed": seed}})
    return path


def main() -> None:
    """Write the checkpoint of one recipe."""
    parser = argparse.ArgumentParser(prog="python -m training.random_weights", description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(write_random(options.recipe, options.out, seed=options.seed))


if __name__ == "__main__":
    main()
