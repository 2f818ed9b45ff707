"""From a batch of samples to the losses of every trained head."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from parsing_rcnn.taxonomy import CIHP
from training.data.iuv import possible_parts
from training.data.sample import Sample
from training.losses.box import box_loss, encoded_or_zero
from training.losses.densepose import densepose_loss, iuv_targets, possible_loss
from training.losses.parsing import parsing_loss, parsing_targets
from training.losses.proposals import proposal_loss
from training.losses.sampling import People, balanced, match
from training.model import boxes as box_ops
from training.model.parsing_rcnn import ParsingRCNN

_SHAKE = 0.05  # of a box's extent: standard deviation of its edges, where proposals are not drawn
# classes that cover few pixels weigh more, or the mean over classes never sees them
_RARE = {"Hat": 2.0, "Gloves": 4.0, "Sunglasses": 3.0, "Socks": 2.5, "Scarf": 3.0, "Left-shoe": 1.5, "Right-shoe": 1.5}


def class_weights() -> Tensor:
    """Cross-entropy weights of the CIHP classes, fp32 [20]."""
    return torch.tensor([_RARE.get(name, 1.0) for name in CIHP.classes])


class Objective:
    """Losses of one batch. Sampling draws from its own generator, so a seed repeats a run."""

    def __init__(self, model: ParsingRCNN, seed: int, *, densepose: bool = False, half: bool = False) -> None:
        self.model = model
        self.half = half
        self.densepose = densepose
        cihp = model.config.parsing_classes == len(CIHP.classes)
        # other classes say nothing about the body below them: every part is possible
        self.possible = torch.from_numpy(possible_parts()) if cihp else torch.ones(256, 25, dtype=torch.bool)
        self.config = model.config
        self.output = (2 if half else 4) * self.config.branch.roi_size
        self.generator = torch.Generator().manual_seed(seed)
        self.weights = class_weights() if self.config.parsing_classes == len(CIHP.classes) else None

    def __call__(self, samples: list[Sample]) -> dict[str, Tensor]:
        """{name: scalar loss} of a batch on one canvas size."""
        model = self.model
        images = torch.from_numpy(np.stack([s.image for s in samples])).permute(0, 3, 1, 2)
        people = [People(torch.from_numpy(s.boxes), torch.from_numpy(s.ignore), s.background_certain) for s in samples]
        size = (images.shape[2], images.shape[3])
        pyramid = model.pyramid(images.contiguous(memory_format=torch.channels_last))
        logits, deltas, anchors = model.rpn(pyramid)
        flat = torch.cat(logits, 1).float(), torch.cat(deltas, 1).float(), torch.cat(anchors)
        objectness, regression = proposal_loss(*flat, people, self.config.rpn, self.generator)
        proposals = [self._proposals(logits, deltas, anchors, size, i, p) for i, p in enumerate(people)]
        classification, refinement, rois, owners = self._box(pyramid, proposals, people)
        return {
            "rpn_objectness": objectness,
            "rpn_box": regression,
            "box_class": classification,
            "box_delta": refinement,
            **self._people(pyramid, samples, rois, owners),
        }

    def densepose_only(self, samples: list[Sample]) -> dict[str, Tensor]:
        """Losses of the DensePose branch alone, on shaken true boxes; no gradient reaches the rest of the network."""
        rois, owners = [], []
        for sample in samples:
            boxes = torch.from_numpy(sample.boxes)
            extent = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
            shaken = boxes + extent * _SHAKE * torch.randn(boxes.shape, generator=self.generator)
            height, width = sample.image.shape[:2]
            rois.append(box_ops.clip(shaken, height, width))
            owners.append(torch.arange(len(boxes)))
        images = torch.from_numpy(np.stack([s.image for s in samples])).permute(0, 3, 1, 2)
        with torch.no_grad():
            pyramid = self.model.pyramid(images.contiguous(memory_format=torch.channels_last))
        return self._people(pyramid, samples, rois, owners, parse=False)

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
            )
        return torch.cat([found, people.boxes])

    def _box(
        self, pyramid: dict[int, Tensor], proposals: list[Tensor], people: list[People]
    ) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
        config = self.config.box
        chosen, labels, targets, positives, owners = [], [], [], [], []
        with torch.no_grad():
            scores = self._scores(pyramid, proposals)
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
                    label, config.rois_per_image, config.positive_fraction, self.generator, hardness=score
                )
                rows = torch.cat([positive, negative])
                chosen.append(boxes[rows])
                labels.append(label[rows])
                target = torch.zeros(len(rows), 4)
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

    def _scores(self, pyramid: dict[int, Tensor], proposals: list[Tensor]) -> list[Tensor]:
        logits, _ = self.model.box(pyramid, proposals)
        return list(torch.softmax(logits.float(), 1)[:, 1].split([len(p) for p in proposals]))

    def _people(
        self,
        pyramid: dict[int, Tensor],
        samples: list[Sample],
        rois: list[Tensor],
        owners: list[Tensor],
        *,
        parse: bool = True,
    ) -> dict[str, Tensor]:
        """Losses of both branches, or of DensePose alone, over the same RoIs, each where its labels are known."""
        drawn, parts, iuv, mapped = [], [], [], []
        for sample, boxes, owner in zip(samples, rois, owners, strict=True):
            ids = torch.from_numpy(sample.instance_ids)[owner] if len(owner) else owner
            labelled = torch.nonzero(ids > 0)[:, 0]
            order = torch.randperm(len(labelled), generator=self.generator)
            rows = labelled[order[: self.config.branch.rois_per_image]]
            own, chosen = ids[rows], boxes[rows]
            instances = torch.from_numpy(sample.instances).long()
            drawn.append(chosen)
            parts.append(parsing_targets(torch.from_numpy(sample.parts).long(), instances, chosen, own, self.output))
            known = torch.isin(own, torch.tensor(sample.mapped, dtype=own.dtype))
            mapped.append(known)
            if sample.iuv is not None and bool(known.any()):
                iuv.append(iuv_targets(torch.from_numpy(sample.iuv), instances, chosen[known], own[known], self.output))
        if not any(len(d) for d in drawn):
            heads = [self.model.parsing_head] + [self.model.densepose_head] * self.densepose
            return {"parsing": sum((p.sum() * 0 for h in heads for p in h.parameters()), torch.zeros(()))}
        features = self.model.roi_features(pyramid, drawn)
        targets = torch.cat(parts)
        losses = {"parsing": parsing_loss(self.model.parsing(features, half=self.half), targets, self.weights)} if parse else {}
        if self.densepose:
            known = torch.cat(mapped)
            maps = self.model.densepose(features, half=self.half)
            wanted = torch.cat(iuv) if iuv else torch.zeros(0, 3, self.output, self.output, dtype=torch.uint8)
            coarse, index, u, v = (m[known] for m in maps)
            losses |= densepose_loss((coarse, index, u, v), wanted)
            losses["iuv_possible"] = possible_loss(maps[1][~known], targets[~known], self.possible)
        return losses
