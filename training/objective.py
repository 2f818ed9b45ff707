"""From a batch of samples to the losses of every trained head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from parsing_rcnn.taxonomy import CIHP
from training.data.iuv import possible_parts
from training.data.sample import IGNORE_LABEL, PlacedPoints, Sample
from training.losses.box import box_loss, encoded_or_zero
from training.losses.densepose import densepose_loss, iuv_targets, points_loss, possible_loss
from training.losses.keypoints import keypoint_loss, keypoint_targets
from training.losses.parsing import parsing_loss, parsing_targets
from training.losses.proposals import proposal_loss
from training.losses.sampling import People, balanced, match
from training.model import boxes as box_ops
from training.model.branch import KEYPOINTS
from training.model.parsing_rcnn import ParsingRCNN

_PICTURES = 2  # of a GPU, for which the weight of the points' U and V is meant
_SHAKE = 0.05  # of a box's extent: standard deviation of its edges, where proposals are not drawn
# classes that cover few pixels weigh more, or the mean over classes never sees them
_RARE = {"Hat": 2.0, "Gloves": 4.0, "Sunglasses": 3.0, "Socks": 2.5, "Scarf": 3.0, "Left-shoe": 1.5, "Right-shoe": 1.5}


def class_weights() -> Tensor:
    """Cross-entropy weights of the CIHP classes, fp32 [20]."""
    return torch.tensor([_RARE.get(name, 1.0) for name in CIHP.classes])


class Objective(nn.Module):
    """Losses of one batch. Sampling draws from a generator of its own, so a seed repeats a run.

    Args:
        parsing, densepose: of these branches.
        only: of this part alone; no gradient reaches the rest of the network.
        half: losses of the branches before the last x2.
        weigh_rare: rare CIHP classes weigh more (`class_weights`).
        layout: of pictures in memory, the network's.
    """

    def __init__(
        self,
        model: ParsingRCNN,
        *,
        parsing: bool = True,
        densepose: bool = False,
        only: Literal["detector", "parsing", "densepose"] | None = None,
        half: bool = False,
        weigh_rare: bool = False,
        layout: torch.memory_format = torch.channels_last,
    ) -> None:
        super().__init__()
        self.layout = layout
        self.model, self.only, self.half = model, only, half
        self.parsing, self.densepose = parsing and only != "densepose", densepose and only != "parsing"
        self.config = model.config
        self.output = (2 if half else 4) * self.config.branch.roi_size
        cihp = model.config.parsing_classes == len(CIHP.classes)
        # other classes say nothing about the body below them: every part is possible
        possible = torch.from_numpy(possible_parts()) if cihp else torch.ones(256, 25, dtype=torch.bool)
        self.register_buffer("possible", possible, persistent=False)
        self.register_buffer("weights", class_weights() if cihp and weigh_rare else None, persistent=False)
        self.possible: Tensor
        self.weights: Tensor | None
        self.generator = torch.Generator()
        self.synchronised = any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())

    def forward(self, samples: list[Sample], seed: int) -> dict[str, Tensor]:
        """{name: scalar loss} of a batch on one canvas size; `seed` decides which boxes are drawn."""
        device = self.possible.device
        if self.generator.device != device:
            self.generator = torch.Generator(device)
        self.generator.manual_seed(seed)
        images = torch.from_numpy(np.stack([s.image for s in samples])).to(device).permute(0, 3, 1, 2)
        with torch.set_grad_enabled(self.only is None and torch.is_grad_enabled()):
            pyramid = self.model.pyramid(images.contiguous(memory_format=self.layout))
        if self.only in ("parsing", "densepose"):
            rois, owners = self._shaken(samples)
            return self._people(pyramid, samples, rois, owners)
        size = (images.shape[2], images.shape[3])
        losses, rois, owners = self._detector(pyramid, samples, size)
        return losses if self.only == "detector" else losses | self._people(pyramid, samples, rois, owners)

    def _detector(
        self, pyramid: dict[int, Tensor], samples: list[Sample], size: tuple[int, int]
    ) -> tuple[dict[str, Tensor], list[Tensor], list[Tensor]]:
        """Losses of proposals and boxes; the positive RoIs of each picture and the person of each."""
        people = [People(self._put(s.boxes), self._put(s.ignore), s.background_certain) for s in samples]
        logits, deltas, anchors = self.model.rpn(pyramid)
        flat = torch.cat(logits, 1).float(), torch.cat(deltas, 1).float(), torch.cat(anchors)
        objectness, regression = proposal_loss(*flat, people, self.config.rpn, self.generator)
        proposals = [self._proposals(logits, deltas, anchors, size, i, p) for i, p in enumerate(people)]
        classification, refinement, rois, owners = self._box(pyramid, proposals, people)
        losses = {
            "rpn_objectness": objectness,
            "rpn_box": regression,
            "box_class": classification,
            "box_delta": refinement,
        }
        return losses, rois, owners

    def _shaken(self, samples: list[Sample]) -> tuple[list[Tensor], list[Tensor]]:
        """Everybody's box, its edges shaken: RoIs where no proposals are drawn, and the person of each."""
        rois, owners = [], []
        for sample in samples:
            boxes = self._put(sample.boxes)
            extent = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
            noise = torch.randn(boxes.shape, generator=self.generator, device=boxes.device)
            height, width = sample.image.shape[:2]
            rois.append(box_ops.clip(boxes + extent * _SHAKE * noise, height, width))
            owners.append(torch.arange(len(boxes), device=boxes.device))
        return rois, owners

    def _put(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).to(self.possible.device)

    def _proposals(
        self,
        logits: list[Tensor],
        deltas: list[Tensor],
        anchors: list[Tensor],
        size: tuple[int, int],
        image: int,
        people: People,
    ) -> Tensor:
        with torch.no_grad():
            found = self.model.rpn.propose(
                [x[image].float() for x in logits],
                [x[image].float() for x in deltas],
                anchors,
                size,
                self.config.rpn.proposals_train,
                self.config.rpn.pre_nms_train,
            )
        return torch.cat([found, people.boxes])

    def _box(
        self, pyramid: dict[int, Tensor], proposals: list[Tensor], people: list[People]
    ) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
        config = self.config.box
        chosen, labels, targets, positives, owners = [], [], [], [], []
        with torch.no_grad():
            scores = self._scores(pyramid, proposals, people)
            for boxes, labelled, score in zip(proposals, people, scores, strict=True):
                label, index = match(
                    boxes,
                    labelled,
                    config.foreground_iou,
                    config.foreground_iou,
                    scores=score,
                    best_for_each=False,
                )
                positive, negative = balanced(
                    label,
                    config.rois_per_image,
                    config.positive_fraction,
                    self.generator,
                    hardness=score if config.hard_negatives else None,
                )
                rows = torch.cat([positive, negative])
                chosen.append(boxes[rows])
                labels.append(label[rows])
                target = boxes.new_zeros(len(rows), 4)
                if len(positive):
                    target[: len(positive)] = box_ops.encode(
                        labelled.boxes[index[positive]], boxes[positive], box_ops.BOX_WEIGHTS
                    )
                targets.append(target)
                positives.append(boxes[positive])
                owners.append(index[positive])
        logits, deltas = self.model.box(pyramid, chosen)
        losses = box_loss(logits.float(), deltas.float(), torch.cat(labels), encoded_or_zero(targets, deltas))
        return *losses, positives, owners

    def _scores(self, pyramid: dict[int, Tensor], proposals: list[Tensor], people: list[People]) -> list[Tensor]:
        """Person probability of all proposals, where the drawing of boxes asks for it; zeros elsewhere."""
        if not self.config.box.hard_negatives and all(p.background_certain for p in people):
            return [boxes.new_zeros(len(boxes)) for boxes in proposals]
        logits, _ = self.model.box(pyramid, proposals)
        return list(torch.softmax(logits.float(), 1)[:, 1].split([len(p) for p in proposals]))

    def _people(
        self, pyramid: dict[int, Tensor], samples: list[Sample], rois: list[Tensor], owners: list[Tensor]
    ) -> dict[str, Tensor]:
        """Losses of the branches over the same RoIs, each where its labels are known."""
        if not (self.parsing or self.densepose or self.model.keypoint_head is not None):
            return {}
        drawn = [self._labelled(*each) for each in zip(samples, rois, owners, strict=True)]
        if not any(len(d.rois) for d in drawn):
            return {"parsing": self._nobody(pyramid, drawn)}
        features = self.model.roi_features(pyramid, [d.rois for d in drawn])
        parts = torch.cat([d.parts for d in drawn])
        losses = {}
        if self.model.keypoint_head is not None:
            losses["keypoints"] = self._keypoints(features, drawn)
        if self.parsing:
            losses["parsing"] = parsing_loss(self.model.parsing(features, half=self.half), parts, self.weights)
        if self.densepose:
            losses |= self._densepose(self.model.densepose(features, half=self.half), drawn, parts)
        return losses

    def _nobody(self, pyramid: dict[int, Tensor], drawn: list[_Drawn]) -> Tensor:
        """A loss of zero that reaches every parameter of the branches: processes wait for each other's gradients.

        Batch norms over all GPUs wait for each other as well: with those the branches see one RoI, the whole canvas.
        """
        keypoint_head = self.model.keypoint_head
        if not self.synchronised:
            wanted = (self.model.parsing_head, self.parsing), (self.model.densepose_head, self.densepose)
            heads = [head for head, on in wanted if on] + [head for head in (keypoint_head,) if head is not None]
            return torch.stack([p.sum() * 0 for head in heads for p in head.parameters()]).sum()
        rois = [d.rois for d in drawn]
        height, width = (4 * side for side in pyramid[2].shape[2:])
        rois[0] = rois[0].new_tensor([[0, 0, width, height]])
        features = self.model.roi_features(pyramid, rois)
        maps = [] if keypoint_head is None else [self.model.keypoints(features, half=self.half)]
        maps += [self.model.parsing(features, half=self.half)] if self.parsing else []
        maps += self.model.densepose(features, half=self.half) if self.densepose else ()
        return torch.stack([m.sum() * 0 for m in maps]).sum()

    def _keypoints(self, features: Tensor, drawn: list[_Drawn]) -> Tensor:
        known = torch.cat([d.jointed for d in drawn])
        if not bool(known.any()):
            return self.model.keypoints(features[:1], half=self.half).sum() * 0
        rois, keypoints = torch.cat([d.rois for d in drawn])[known], torch.cat([d.keypoints for d in drawn])
        logits = self.model.keypoints(features[known], half=self.half)
        return keypoint_loss(logits, *keypoint_targets(keypoints, rois, self.output))

    def _labelled(self, sample: Sample, boxes: Tensor, owner: Tensor) -> _Drawn:
        """RoIs of people with labels, as many as the recipe has, and what is known under each."""
        config = self.config.branch
        ids = self._put(sample.instance_ids)[owner]
        usable = ids > 0
        pointed = self._among(ids, tuple(sample.points))
        jointed = self._among(ids, tuple(sample.keypoints))
        if sample.points:
            # before the draw, as in the authors' code: who is too far off for points would take the place of another
            overlap = box_ops.iou(boxes, self._put(sample.boxes)).gather(1, owner[:, None])[:, 0]
            pointed &= overlap >= config.densepose_iou
            usable &= pointed | jointed | ~self._among(ids, tuple(sample.points))
        labelled = torch.nonzero(usable)[:, 0]
        order = torch.randperm(len(labelled), generator=self.generator, device=labelled.device)
        rows = labelled[order[: config.rois_per_image]]
        own, rois = ids[rows], boxes[rows]
        pointed, jointed = pointed[rows], jointed[rows]
        instances = self._put(sample.instances).long()
        parts = parsing_targets(self._put(sample.parts).long(), instances, rois, own, self.output)
        mapped = self._among(own, sample.mapped)
        parts[self._among(own, (*sample.points, *sample.keypoints))] = IGNORE_LABEL
        iuv = None
        if sample.iuv is not None and bool(mapped.any()):
            iuv = iuv_targets(self._put(sample.iuv), instances, rois[mapped], own[mapped], self.output)
        points = [sample.points[int(i)] for i in own[pointed]]
        joints = [sample.keypoints[int(i)] for i in own[jointed]]
        keypoints = self._put(np.asarray(joints, np.float32).reshape(-1, KEYPOINTS, 3))
        return _Drawn(rois, parts, mapped, pointed, jointed, iuv, points, keypoints)

    @staticmethod
    def _among(ids: Tensor, wanted: Sequence[int]) -> Tensor:
        return torch.isin(ids, torch.tensor(wanted, dtype=ids.dtype, device=ids.device))

    def _densepose(
        self, maps: tuple[Tensor, Tensor, Tensor, Tensor], drawn: list[_Drawn], parts: Tensor
    ) -> dict[str, Tensor]:
        mapped, pointed = torch.cat([d.mapped for d in drawn]), torch.cat([d.pointed for d in drawn])
        coarse, index, u, v = maps
        wanted = [d.iuv for d in drawn if d.iuv is not None]
        none = torch.zeros((0, 3, self.output, self.output), dtype=torch.uint8, device=parts.device)
        losses = densepose_loss(
            (coarse[mapped], index[mapped], u[mapped], v[mapped]), torch.cat(wanted) if wanted else none
        )
        points = [p for d in drawn for p in d.points]
        if points:
            rois = torch.cat([d.rois for d in drawn])[pointed]
            sparse = points_loss((coarse[pointed], index[pointed], u[pointed], v[pointed]), rois, points)
            # a sum over the points of the authors' two pictures a GPU; another number of pictures weighs as much
            sparse["iuv_uv"] = sparse["iuv_uv"] * (_PICTURES / len(drawn))
            losses = {name: losses[name] + sparse[name] for name in losses}
        rest = ~mapped & ~pointed
        losses["iuv_possible"] = possible_loss(index[rest], parts[rest], self.possible)
        return losses


@dataclass
class _Drawn:
    """RoIs of one picture that train the branches.

    Attributes:
        rois: [r,4]; parts: int64 [r,S,S], 255 where nothing is known.
        mapped: bool [r], of people whose IUV map is known: `iuv` uint8 [mapped,3,S,S].
        pointed: bool [r], of people with annotated `points`.
        jointed: bool [r], of people with COCO keypoints: `keypoints` fp32 [jointed,17,3] in canvas pixels.
    """

    rois: Tensor
    parts: Tensor
    mapped: Tensor
    pointed: Tensor
    jointed: Tensor
    iuv: Tensor | None
    points: list[PlacedPoints]
    keypoints: Tensor
