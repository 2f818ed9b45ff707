"""From a batch of samples to the losses of every trained head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from parsing_rcnn.taxonomy import CIHP
from training.config import Config
from training.data.batch import Batch
from training.data.iuv import possible_parts
from training.data.sample import IGNORE_LABEL, PlacedPoints
from training.losses.box import box_loss
from training.losses.densepose import densepose_loss, iuv_targets, points_loss, possible_loss, somebody_loss
from training.losses.keypoints import keypoint_loss, keypoint_targets
from training.losses.parsing import parsing_loss, parsing_targets
from training.losses.proposals import proposal_loss
from training.losses.sampling import LabelledPeople, balanced, first, match
from training.model import boxes as box_ops
from training.model.parsing_rcnn import ParsingRCNN

_PICTURES = 2  # the weight of the points' U and V is meant for so many pictures a GPU
_FEW, _MULTIPLE = 128, 32  # on a GPU, more RoIs than 128 are cut to a multiple of 32 (`_met_before`)
_SHAKE = 0.05  # standard deviation of a box's edges in `_shaken`, as a share of its extent
# classes that cover few pixels weigh more, or they would hardly be learnt
_RARE = {"Hat": 2.0, "Gloves": 4.0, "Sunglasses": 3.0, "Socks": 2.5, "Scarf": 3.0, "Left-shoe": 1.5, "Right-shoe": 1.5}


def class_weights() -> Tensor:
    """Cross-entropy weights of the CIHP classes, fp32 [20]."""
    return torch.tensor([_RARE.get(name, 1.0) for name in CIHP.classes])


def memory_format(config: Config, device: torch.device) -> torch.memory_format:
    """How maps lie in memory: channels last, except for a ResNet in fp32 on a CPU. There RoIAlign and its gradient need
    channels first, and converting costs more than the convolutions gain."""
    plain = device.type == "cpu" and config.train.autocast == "none"
    return torch.contiguous_format if plain and config.model.backbone.startswith("res") else torch.channels_last


class Objective(nn.Module):
    """Losses of one batch. Sampling has a generator of its own, so that a seed repeats a run.

    Args:
        parsing, densepose: whether these branches are trained.
        only: train this part alone; no gradient reaches the rest of the network.
        half: compute the losses of the branches on their maps before the last upsampling by two.
        weigh_rare: give rare CIHP classes more weight (`class_weights`).
        layout: the memory format of pictures, as the network has it.
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
        self.model, self.only, self.half_size = model, only, half
        self.parsing, self.densepose = parsing and only != "densepose", densepose and only != "parsing"
        self.config = model.config
        self.output = (2 if half else 4) * self.config.branch.roi_size
        cihp = model.config.taxonomy == CIHP
        # other classes say nothing about the body below them: every part is possible
        possible = torch.from_numpy(possible_parts()) if cihp else torch.ones(256, 25, dtype=torch.bool)
        self.register_buffer("possible", possible, persistent=False)
        self.register_buffer("weights", class_weights() if cihp and weigh_rare else None, persistent=False)
        self.possible: Tensor
        self.weights: Tensor | None
        self.generator = torch.Generator()
        self.synchronised = any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())

    def forward(self, batch: Batch, seed: int) -> dict[str, Tensor]:
        """{name: scalar loss} of a batch on one canvas size; `seed` decides which boxes are drawn."""
        device = self.possible.device
        if self.generator.device != device:
            self.generator = torch.Generator(device)
        self.generator.manual_seed(seed)
        batch = batch.to(device)
        images = batch.images.permute(0, 3, 1, 2)
        with torch.set_grad_enabled(self.only is None and torch.is_grad_enabled()):
            pyramid = self.model.pyramid(images.contiguous(memory_format=self.layout))
        size = (images.shape[2], images.shape[3])
        if self.only in ("parsing", "densepose"):
            return self._people(pyramid, batch, *self._shaken(batch, size))
        losses, *found = self._detector(pyramid, batch, size)
        return losses if self.only == "detector" else losses | self._people(pyramid, batch, *found)

    def _detector(
        self, pyramid: dict[int, Tensor], batch: Batch, size: tuple[int, int]
    ) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
        """Losses of proposals and boxes, and the positive RoIs of each picture (see `_box`)."""
        people = LabelledPeople.of(batch)
        logits, deltas, anchors = self.model.rpn(pyramid)
        flat = torch.cat(logits, 1).float(), torch.cat(deltas, 1).float(), torch.cat(anchors)
        objectness, regression = proposal_loss(*flat, people, self.config.rpn, self.generator)
        boxes, there = self.model.rpn.propose_for_training(logits, deltas, anchors, size)
        boxes, there = torch.cat([boxes, people.boxes], 1), torch.cat([there, people.present], 1)
        classification, refinement, *found = self._box(pyramid, boxes, there, people, certain=batch.all_certain)
        losses = {
            "rpn_objectness": objectness,
            "rpn_box": regression,
            "box_class": classification,
            "box_delta": refinement,
        }
        return losses, *found

    def _shaken(self, batch: Batch, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """Everybody's box with randomly moved edges: RoIs, as of `_box`, for training without proposals."""
        boxes = batch.boxes
        extent = (boxes[..., 2:] - boxes[..., :2]).repeat(1, 1, 2)
        noise = torch.randn(boxes.shape, generator=self.generator, device=boxes.device)
        owners = torch.arange(boxes.shape[1], device=boxes.device).expand(boxes.shape[:2])
        return box_ops.clip(boxes + extent * _SHAKE * noise, *size), owners, batch.present

    def _box(
        self, pyramid: dict[int, Tensor], boxes: Tensor, there: Tensor, people: LabelledPeople, *, certain: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Losses of the box branch, and the positive RoIs: boxes [B,p,4], the person of each [B,p], and bool [B,p],
        which rows are RoIs: a picture with fewer is filled up."""
        config = self.config.box
        with torch.no_grad():
            wanted = config.hard_negatives or not certain
            scores = self._scores(pyramid, boxes) if wanted else torch.zeros_like(boxes[..., 0])
            labels, index = match(
                boxes, people, config.foreground_iou, config.foreground_iou, scores=scores, best_for_each=False
            )
            drawn = balanced(
                labels.masked_fill(~there, -1),
                config.rois_per_image,
                config.positive_fraction,
                self.generator,
                hardness=scores if config.hard_negatives else None,
            )
            positive = boxes.gather(1, drawn.positive[..., None].expand(-1, -1, 4))
            owners = index.gather(1, drawn.positive)
            picture, column = torch.nonzero(torch.cat([drawn.positives, drawn.negatives], 1), as_tuple=True)
            row = torch.cat([drawn.positive, drawn.negative], 1)[picture, column]
            rois, label = boxes[picture, row], labels[picture, row]
            targets = torch.zeros_like(rois)
            if people.boxes.shape[1]:
                own = people.boxes[picture, index[picture, row]]
                targets = box_ops.encode(own, rois, box_ops.BOX_WEIGHTS)
        logits, deltas = self.model.box(pyramid, _flat(picture, rois))
        return *box_loss(logits.float(), deltas.float(), label, targets), positive, owners, drawn.positives

    def _scores(self, pyramid: dict[int, Tensor], boxes: Tensor) -> Tensor:
        """Person probability [B,p] of all proposals, by which boxes are drawn or ignored."""
        pictures = torch.arange(len(boxes), device=boxes.device).repeat_interleave(boxes.shape[1])
        logits, _ = self.model.box(pyramid, _flat(pictures, boxes.flatten(0, 1)))
        return torch.softmax(logits.float(), 1)[:, 1].view(boxes.shape[:2])

    def _people(
        self, pyramid: dict[int, Tensor], batch: Batch, rois: Tensor, owners: Tensor, there: Tensor
    ) -> dict[str, Tensor]:
        """Losses of the branches over the same RoIs, each where its labels are known."""
        if not (self.parsing or self.densepose or self.model.keypoint_head is not None):
            return {}
        drawn = self._labelled(batch, rois, owners, there)
        if not len(drawn.rois):
            return {"parsing": self._nobody(pyramid)}
        features = self.model.roi_features(pyramid, _flat(drawn.pictures, drawn.rois))
        losses = {}
        if self.model.keypoint_head is not None:
            losses["keypoints"] = self._keypoints(features, batch, drawn)
        if self.parsing:
            losses["parsing"] = parsing_loss(
                self.model.parsing(features, half=self.half_size), drawn.parts, self.weights
            )
        if self.densepose:
            losses |= self._densepose(self.model.densepose(features, half=self.half_size), batch, drawn)
        return losses

    def _nobody(self, pyramid: dict[int, Tensor]) -> Tensor:
        """A loss of zero that depends on every parameter of the branches: processes wait for each other's gradients.

        Batch norms over all GPUs wait, too: if there are any, the branches read one RoI, the whole canvas.
        """
        keypoint_head = self.model.keypoint_head
        if not self.synchronised:
            wanted = (self.model.parsing_head, self.parsing), (self.model.densepose_head, self.densepose)
            heads = [head for head, on in wanted if on] + [head for head in (keypoint_head,) if head is not None]
            return torch.stack([p.sum() * 0 for head in heads for p in head.parameters()]).sum()
        height, width = (4 * side for side in pyramid[2].shape[2:])
        canvas = torch.tensor([[0.0, 0, 0, width, height]], device=pyramid[2].device)
        features = self.model.roi_features(pyramid, canvas)
        maps = [] if keypoint_head is None else [self.model.keypoints(features, half=self.half_size)]
        maps += [self.model.parsing(features, half=self.half_size)] if self.parsing else []
        maps += self.model.densepose(features, half=self.half_size) if self.densepose else ()
        return torch.stack([m.sum() * 0 for m in maps]).sum()

    def _keypoints(self, features: Tensor, batch: Batch, drawn: _Drawn) -> Tensor:
        if batch.keypoints is None or not bool(drawn.jointed.any()):
            return self.model.keypoints(features[:1], half=self.half_size).sum() * 0
        known = drawn.jointed
        keypoints = batch.keypoints[drawn.pictures, drawn.owners][known]
        logits = self.model.keypoints(features[known], half=self.half_size)
        return keypoint_loss(logits, *keypoint_targets(keypoints, drawn.rois[known], self.output))

    def _labelled(self, batch: Batch, boxes: Tensor, owners: Tensor, there: Tensor) -> _Drawn:
        """RoIs of people with labels, at most `branch.rois_per_image` of each picture, and the labels under each."""
        config = self.config.branch
        if not owners.shape[1] or not batch.ids.shape[1]:
            there, owners, boxes = there[:, :0], owners[:, :0], boxes[:, :0]
            return self._under(batch, boxes.flatten(0, 1), *torch.nonzero(there, as_tuple=True))
        pointed, jointed = batch.pointed.gather(1, owners), batch.jointed.gather(1, owners)
        usable = there & (batch.ids.gather(1, owners) > 0)
        if any(batch.points):
            # before the draw, as in the authors' code: a RoI too far off for points would take the place of another
            overlap = box_ops.iou(boxes, batch.boxes).gather(2, owners[..., None])[..., 0]
            usable &= (overlap >= config.densepose_iou) | jointed | ~pointed
        chance = torch.rand(usable.shape, generator=self.generator, device=usable.device)
        chosen, drawn = first(chance, usable, config.rois_per_image)
        picture, column = torch.nonzero(drawn, as_tuple=True)
        if picture.is_cuda:
            keep = torch.randperm(len(picture), generator=self.generator, device=picture.device)
            picture, column = (each[keep[: _met_before(len(picture))]] for each in (picture, column))
        row = chosen[picture, column]
        return self._under(batch, boxes[picture, row], picture, owners[picture, row])

    def _under(self, batch: Batch, rois: Tensor, pictures: Tensor, owners: Tensor) -> _Drawn:
        """The labels under RoIs of people, those with an IUV map first, then those with points."""
        own = (pictures, owners)
        pointed, overlapping = batch.pointed[own], torch.ones_like(pictures, dtype=torch.bool)
        if any(batch.points):
            there = batch.boxes[own]
            shared = box_ops.iou(rois[:, None], there[:, None])[:, 0, 0]
            overlapping = shared >= self.config.branch.densepose_iou
        group = torch.where(batch.mapped[own], 0, torch.where(pointed & overlapping, 1, 2))
        order = group.argsort(stable=True)
        rois, pictures, owners = rois[order], pictures[order], owners[order]
        own = (pictures, owners)
        mapped, pointed = (int(n) for n in torch.bincount(group, minlength=3)[:2].tolist())
        ids = batch.ids[own]
        parts = parsing_targets(batch.parts, batch.instances, rois, pictures, ids, self.output)
        unlabelled = batch.pointed[own] | batch.jointed[own]
        parts = parts.masked_fill(unlabelled[:, None, None], IGNORE_LABEL)
        iuv = None
        if batch.iuv is not None:
            iuv = iuv_targets(batch.iuv, batch.instances, rois[:mapped], pictures[:mapped], ids[:mapped], self.output)
        points = []
        if pointed:
            rows = slice(mapped, mapped + pointed)
            at = zip(pictures[rows].tolist(), ids[rows].tolist(), strict=True)
            points = [batch.points[picture][person] for picture, person in at]
        return _Drawn(rois, pictures, owners, parts, batch.jointed[own], iuv, points)

    def _densepose(self, maps: tuple[Tensor, Tensor, Tensor, Tensor], batch: Batch, drawn: _Drawn) -> dict[str, Tensor]:
        mapped = 0 if drawn.iuv is None else len(drawn.iuv)
        counts = [mapped, len(drawn.points), len(drawn.rois) - mapped - len(drawn.points)]
        full, sparse, rest = zip(*(m.split(counts) for m in maps), strict=True)
        none = torch.zeros((0, 3, self.output, self.output), dtype=torch.uint8, device=drawn.parts.device)
        losses = densepose_loss(full, none if drawn.iuv is None else drawn.iuv)
        if drawn.points:
            rois = drawn.rois[mapped : mapped + len(drawn.points)]
            found = points_loss(sparse, rois, drawn.points)
            # the authors sum over the points of two pictures a GPU: scaled, so that other batch sizes weigh the same
            found["iuv_uv"] = found["iuv_uv"] * (_PICTURES / len(batch))
            losses = {name: losses[name] + found[name] for name in losses}
        labels = drawn.parts[mapped + len(drawn.points) :]
        losses["iuv_possible"] = possible_loss(rest[1], labels, self.possible)
        losses["iuv_coarse"] = losses["iuv_coarse"] + somebody_loss(rest[0], labels, self.possible)
        return losses


def _flat(pictures: Tensor, rois: Tensor) -> Tensor:
    """RoIs [r,4] and the picture of each as one table [r,5], as RoIAlign takes it."""
    return torch.cat([pictures[:, None].to(rois.dtype), rois], 1)


def _met_before(count: int) -> int:
    """How many of `count` RoIs a GPU gets: for each new number, it plans its convolutions anew for half a second."""
    return count if count <= _FEW else count // _MULTIPLE * _MULTIPLE


@dataclass
class _Drawn:
    """RoIs of a batch that train the branches: first those with IUV maps, then those with points, then the others.

    Attributes:
        rois: [r,4]; pictures, owners: int64 [r], the picture of each and the row of its person there.
        parts: int64 [r,S,S], 255 where nothing is known.
        jointed: bool [r], of people with COCO keypoints.
        iuv: uint8 [mapped,3,S,S], None where no picture has any.
        points: of the RoIs that follow those with IUV.
    """

    rois: Tensor
    pictures: Tensor
    owners: Tensor
    parts: Tensor
    jointed: Tensor
    iuv: Tensor | None
    points: list[PlacedPoints]
