"""The whole network, composed from a `ModelConfig`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.ops import nms

from training.config import ModelConfig
from training.model import boxes as box_ops
from training.model.backbones import EfficientNetLite, ResNet
from training.model.box_branch import BoxBranch, Rois, roi_align_level, roi_align_pyramid
from training.model.branch import BranchTrunk, DensePoseHead, KeypointHead, ParsingHead
from training.model.decoder import PyramidDecoder
from training.model.fpn import FeaturePyramid
from training.model.rpn import RegionProposals

PIXEL_STD = (58.395, 57.12, 57.375)
"""R, G, B by which pixels are divided after `ModelConfig.pixel_mean` is taken away."""


@dataclass
class Detections:
    """People of one canvas: boxes [n,4] in canvas pixels and scores [n], by score."""

    boxes: Tensor
    scores: Tensor


class ParsingRCNN(nn.Module):
    """Backbone, pyramid, proposals, box branch, parsing branch and DensePose branch."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = (
            EfficientNetLite(config.backbone)
            if config.backbone.startswith("efficientnet")
            else ResNet(config.backbone, stride_in_1x1=config.stride_in_1x1)
        )
        self.fpn = FeaturePyramid(self.backbone.channels, config.fpn.channels, config.fpn.norm)
        self.rpn = RegionProposals(config.fpn.channels, config.rpn)
        self.box = BoxBranch(config.fpn.channels, config.box)
        self.decoder = PyramidDecoder(config.fpn.channels) if config.branch.decoder else None
        self.parsing_trunk = BranchTrunk(config.fpn.channels, config.branch)
        self.densepose_trunk = (
            self.parsing_trunk if config.share_trunk else BranchTrunk(config.fpn.channels, config.branch)
        )
        self.parsing_head = ParsingHead(self.parsing_trunk.outputs, config.parsing_classes)
        self.densepose_head = DensePoseHead(self.densepose_trunk.outputs, config.densepose_coarse)
        self.keypoint_head = KeypointHead(self.parsing_trunk.outputs) if config.keypoints else None
        self.register_buffer("mean", torch.tensor(config.pixel_mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(PIXEL_STD).view(1, 3, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def pyramid(self, images: Tensor) -> dict[int, Tensor]:
        """RGB 0..255 [B,3,H,W] -> {2: P2, ..., 6: P6}."""
        levels: dict[int, Tensor] = self.fpn(self.backbone((images.float() - self.mean) / self.std))
        return levels

    def roi_features(self, pyramid: Mapping[int, Tensor], rois: Rois) -> Tensor:
        """RoIs of all images -> [R,C,S,S]: from P2 alone by default (paper 3.1), S = 32 (3.2)."""
        branch = self.config.branch
        if self.decoder is not None:
            return roi_align_level(self.decoder(pyramid), rois, branch.roi_size, 2)
        if len(branch.levels) == 1:
            return roi_align_level(pyramid[branch.levels[0]], rois, branch.roi_size, branch.levels[0])
        return roi_align_pyramid(pyramid, rois, branch.roi_size, branch.levels)

    def parsing(self, features: Tensor, *, half: bool = False) -> Tensor:
        """RoI features [n,C,32,32] -> logits [n,classes,128,128]; `half`: [n,classes,64,64], before the last x2."""
        return self.parsing_head(self.parsing_trunk(features), half=half)

    def keypoints(self, features: Tensor, *, half: bool = False) -> Tensor:
        """RoI features [n,C,32,32] -> where the 17 keypoints lie, logits [n,17,128,128]; `half`: [n,17,64,64].

        Raises:
            ValueError: the recipe has no such head.
        """
        if self.keypoint_head is None:
            raise ValueError("this network has no keypoint head: model.keypoints=true")
        found: Tensor = self.keypoint_head(self.parsing_trunk(features), half=half)
        return found

    def densepose(self, features: Tensor, *, half: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """RoI features [n,C,32,32] -> coarse, index, u, v maps at 128x128, or at 64x64 before the last x2 (`half`)."""
        maps: tuple[Tensor, Tensor, Tensor, Tensor] = self.densepose_head(self.densepose_trunk(features), half=half)
        return maps

    def detect(self, pyramid: Mapping[int, Tensor], size: tuple[int, int]) -> Detections:
        """All people of ONE canvas after NMS, no score limit: [n,4] and [n], by score."""
        logits, deltas, anchors = self.rpn(pyramid)
        proposals = self.rpn.propose(
            [x[0] for x in logits], [x[0] for x in deltas], anchors, size, self.config.rpn.proposals_test
        )
        scores, refined = self.box(pyramid, [proposals])
        person = torch.softmax(scores, 1)[:, 1]
        boxes = box_ops.clip(box_ops.decode(refined, proposals, box_ops.BOX_WEIGHTS), size[0], size[1])
        keep = nms(boxes, person, self.config.box.nms_iou)
        return Detections(boxes[keep], person[keep])


def build_model(config: ModelConfig, *, imagenet: bool = False) -> ParsingRCNN:
    """The network of a recipe, with ImageNet weights in its backbone where asked for.

    Raises:
        BackboneWeightsError: they are absent.
    """
    model = ParsingRCNN(config)
    if imagenet and config.pretrained:
        if isinstance(model.backbone, EfficientNetLite):
            model.backbone.load_imagenet()
        else:
            model.backbone.load_imagenet(config.backbone_weights)
    return model
