"""The peer: torchvision's Mask R-CNN (ResNet-50-FPN, fp32, eager), on an interpreter that has torch.

    python -m benchmarks.peer_maskrcnn frame.jpg --sides 384 640 --threads 2

Weights are random, so nothing is downloaded: this measures speed alone. Two things are set to make the random network
do the work of a trained one: batch norm takes its statistics from the picture (activations would explode otherwise),
and a bias lets "person" alone pass the usual score threshold; as many detections as asked for are kept and get masks.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn

from benchmarks.rounds import answer

PERSON = 1  # of the 91 COCO classes


def build(
    sides: tuple[int, int], example: torch.Tensor, *, detections: int = 1, proposals: int = 1000, roi: int = 14
) -> MaskRCNN:
    """The network, with activations of sound size on `example` (float [3,H,W] in 0..1).

    Args:
        sides: short and long side that a picture is scaled to fit, as ours is.
        detections: that are kept; proposals: that the box head sees; roi: cells of a RoI of the mask head.
    """
    torch.manual_seed(0)
    model = maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        min_size=sides[0],
        max_size=sides[1],
        box_detections_per_img=detections,
        rpn_post_nms_top_n_test=proposals,
    )
    model.roi_heads.mask_roi_pool.output_size = (roi, roi)
    norms = [module for module in model.backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        images, _ = model.transform([example])
        model.backbone.train()(images.tensors)
        model.roi_heads.box_predictor.cls_score.bias[PERSON] += 10.0
    return model.eval()


def prepare(
    path: Path, sides: tuple[int, int], threads: int, people: int = 1
) -> tuple[Mapping[str, Any], Callable[[], Mapping[str, float]]]:
    """(facts, a function that takes the encoded picture to `people` with box and mask)."""
    torch.set_num_threads(threads)
    data = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)

    def read() -> torch.Tensor:
        return decode_jpeg(data, ImageReadMode.RGB).float().div(255)

    model = build(sides, read(), detections=people)

    @torch.inference_mode()
    def step() -> Mapping[str, float]:
        (found,) = model([read()])
        if len(found["boxes"]) != people or found["masks"].shape[0] != people:
            raise RuntimeError(f"{len(found['boxes'])} detections, expected {people}: the comparison would be unfair")
        return {}

    step()
    about = {
        "name": f"torchvision {torchvision.__version__} maskrcnn_resnet50_fpn, picture within {sides[0]}x{sides[1]}",
        "runtime": f"torch {torch.__version__} eager fp32",
        "threads": torch.get_num_threads(),
        "people": people,
    }
    return about, step


def main() -> None:
    """The command line of the worker."""
    parser = argparse.ArgumentParser()
    parser.add_argument("photo", type=Path)
    parser.add_argument("--sides", type=int, nargs=2, default=(384, 640), help="short and long, that a picture fits in")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--people", type=int, default=1)
    options = parser.parse_args()
    answer(lambda: prepare(options.photo, tuple(options.sides), options.threads, options.people))


if __name__ == "__main__":
    main()
