"""One competitor of `benchmarks.training_speed`: a training loop over the same pictures, on an interpreter with torch.

    python -m benchmarks.training_worker ours DATASET --heads all

`ours` is Parsing R-CNN R50-FPN of training/configs/paper with the branch profile gce-paper; `torchvision` is its Mask
R-CNN R50-FPN. Both begin with random weights and see the same pictures at the same size, up to 2000 proposals a picture
of at most 2000 a level, 512 RoIs of the box branch, frozen batch norms and two frozen stages, SGD with momentum.
With `--heads none` neither has a mask or parsing head: what is left is the same network. Ours is trained as
`parsing-rcnn train` does, torchvision's as its references do: memory format, norms and loop are each one's own.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torchvision
from torch import nn
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

from benchmarks.rounds import ROOT, answer
from training.config import load_config
from training.data.batch import Batch
from training.data.sample import Sample
from training.train import Trainer

CONFIG = ROOT / "training" / "configs" / "paper" / "cihp_r50_1x.yaml"
Step = Callable[[], Mapping[str, float]]
_PROPOSALS = 2000


def trainer(options: argparse.Namespace, out: Path) -> Trainer:
    """Our loop over a folder of `parsing-rcnn render` or of CIHP."""
    overrides = (
        "model.pretrained=false",
        f"model.rpn.pre_nms_train={_PROPOSALS}",
        f"model.rpn.proposals_train={_PROPOSALS}",
        f"data.annotated=[{options.dataset.resolve()}]",
        f"data.short_sides=[{options.short_side}]",
        f"train.batch_size={options.pictures}",
        f"train.images_per_process={options.pictures}",
        "train.learning_rate=0.0001",
        "train.backbone_learning_rate=0.0001",
        "train.workers=0",
        f"train.device={options.device}",
        f"train.autocast={options.autocast}",
        f"train.parsing={str(options.heads == 'all').lower()}",
    )
    return Trainer(load_config(CONFIG, overrides), options.dataset, out)


def pictures(loop: Trainer) -> Callable[[], list[Sample]]:
    """Batches of the data loader's own making, one after the other."""
    numbers = count()
    return lambda: loop.mixture[next(numbers)]


def ours(options: argparse.Namespace, out: Path) -> tuple[str, Step]:
    """(name, one training step) of Parsing R-CNN."""
    loop = trainer(options, out)
    draw = pictures(loop)

    def step() -> Mapping[str, float]:
        loop.update([Batch.of(draw())])
        return _done(loop.world.device)

    head = "gce-paper" if options.heads == "all" else "no parsing head"
    return f"Parsing R-CNN R50-FPN, {head}", step


def peer(options: argparse.Namespace, out: Path) -> tuple[str, Step]:
    """(name, one training step) of torchvision's network, in the loop that its references show."""
    loop = trainer(options, out)
    draw, device = pictures(loop), loop.world.device
    del loop.model, loop.parallel, loop.objective, loop.average, loop.optimizer  # only its pictures are wanted
    model = _build(options).to(device)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-4, momentum=0.9)
    kind = torch.bfloat16 if options.autocast == "bf16" else torch.float16
    model.train()

    def step() -> Mapping[str, float]:
        samples = draw()
        images = [torch.from_numpy(s.image).permute(2, 0, 1).to(device).float() / 255 for s in samples]
        targets = [_target(s, device) for s in samples]
        with torch.autocast(device.type, kind, enabled=options.autocast != "none"):
            losses = sum(model(images, targets).values())
        optimizer.zero_grad(set_to_none=True)
        losses.backward()
        optimizer.step()
        return _done(device)

    kind_of = "Mask R-CNN" if options.heads == "all" else "Faster R-CNN"
    return f"torchvision {torchvision.__version__} {kind_of} R50-FPN", step


def _build(options: argparse.Namespace) -> nn.Module:
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=3
    )
    build = MaskRCNN if options.heads == "all" else FasterRCNN
    model: nn.Module = build(
        backbone,
        2,
        min_size=options.short_side,
        max_size=1400,
        rpn_pre_nms_top_n_train=_PROPOSALS,
        rpn_post_nms_top_n_train=_PROPOSALS,
    )
    return model


def _target(sample: Sample, device: torch.device) -> dict[str, torch.Tensor]:
    masks = sample.instances[None] == sample.instance_ids[:, None, None]
    return {
        "boxes": torch.from_numpy(sample.boxes).to(device),
        "labels": torch.ones(len(sample.boxes), dtype=torch.int64, device=device),
        "masks": torch.from_numpy(masks.astype(np.uint8)).to(device),
    }


def loader(options: argparse.Namespace, out: Path) -> tuple[str, Step]:
    """(name, one batch) of our data loader in this process, without training."""
    cv2.setNumThreads(1)  # as in a process of a run's loaders
    draw = pictures(trainer(options, out))

    def step() -> Mapping[str, float]:
        draw()
        return {}

    return "our data loader alone, one process", step


def _done(device: torch.device) -> Mapping[str, float]:
    """Wait for a GPU; the most memory that it has held, MB."""
    if device.type != "cuda":
        return {}
    torch.cuda.synchronize()
    return {"gpu_mb": torch.cuda.max_memory_allocated() / 2**20}


def prepare(options: argparse.Namespace, out: Path) -> tuple[Mapping[str, Any], Step]:
    """(facts, a function that takes one step)."""
    torch.set_num_threads(options.threads)
    build = {"ours": ours, "torchvision": peer, "loader": loader}[options.who]
    name, step = build(options, out)
    step()
    about = {
        "name": name,
        "who": options.who,
        "runtime": f"torch {torch.__version__}",
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() and options.device != "cpu" else "CPU",
        "autocast": options.autocast,
        "pictures": options.pictures,
    }
    return about, step


def parser() -> argparse.ArgumentParser:
    """The command line of the worker."""
    parser = argparse.ArgumentParser()
    parser.add_argument("who", choices=("ours", "torchvision", "loader"))
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--heads", choices=("all", "none"), default="all")
    parser.add_argument("--short-side", type=int, default=512)
    parser.add_argument("--pictures", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--autocast", choices=("none", "bf16", "fp16"), default="none")
    return parser


def main() -> None:
    """Answer on standard output."""
    options = parser().parse_args()
    with tempfile.TemporaryDirectory() as out:
        answer(lambda: prepare(options, Path(out)))


if __name__ == "__main__":
    main()
