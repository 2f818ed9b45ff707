"""Weights of others compute here what they compute there."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models.detection import fasterrcnn_resnet50_fpn_v2, keypointrcnn_resnet50_fpn, maskrcnn_resnet50_fpn
from torchvision.models.detection.image_list import ImageList
from typer.testing import CliRunner

from parsing_rcnn.cli import build
from parsing_rcnn.taxonomy import MHP
from tests.training.detectron2_reference import Variant
from tests.training.zoo_names import flat, of_torchvision, zoo_state
from training.checkpoint import load_model
from training.errors import CheckpointError
from training.importers.importer import import_checkpoint
from training.tensor_files import read_tensors

Tensors = dict[str, Tensor]


def relative(a: Tensor, b: Tensor) -> float:
    return ((a - b).abs().max() / a.abs().max()).item()


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    """Statistics of norms and biases as a trained network has them: not zeros and ones."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif name.endswith(("running_mean", "bias")):
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
        elif "box_predictor" in name:
            tensor.copy_(0.05 * torch.randn(tensor.shape, generator=generator))
        elif name.endswith("bn3.weight"):
            tensor.fill_(0.25)  # or every block would double the variance
    return model.eval()


def _by_anchor(maps: list[Tensor], values: int) -> list[Tensor]:
    """Maps [1,3*values,H,W] of each level -> [H*W*3,values]."""
    return [m[0].unflatten(0, (3, values)).permute(2, 3, 0, 1).reshape(-1, values) for m in maps]


@pytest.mark.parametrize("builder", [keypointrcnn_resnet50_fpn, maskrcnn_resnet50_fpn])
def test_torchvision_detectors_find_the_same(tmp_path: Path, builder) -> None:  # type: ignore[no-untyped-def]
    theirs = randomised(builder(weights=None, weights_backbone=None))
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    report = import_checkpoint(tmp_path / "theirs.pth", tmp_path / "own.safetensors")
    assert report.source == "torchvision"
    assert not report.missing
    assert not report.unfit
    assert all(name.startswith("roi_heads.") for name in report.unused)
    own, config = load_model(tmp_path / "own.safetensors")
    assert config.model.backbone == "resnet50"

    picture = torch.rand(1, 3, 256, 320, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        normal = (picture - torch.tensor(theirs.transform.image_mean).view(1, 3, 1, 1)) / torch.tensor(
            theirs.transform.image_std
        ).view(1, 3, 1, 1)
        their_features = list(theirs.backbone(normal).values())
        pyramid = own.pyramid(picture * 255)
        for level, feature in enumerate(their_features, 2):
            assert relative(feature, pyramid[level]) <= 1e-5
        images = ImageList(normal, [(256, 320)])
        named = dict(zip(("0", "1", "2", "3", "pool"), their_features, strict=True))
        said: list[list[list[Tensor]]] = []
        theirs.rpn.head.register_forward_hook(lambda _, __, maps: said.append(maps))
        (expected,), _ = theirs.rpn(images, named)
        logits, deltas, anchors = own.rpn(pyramid)
        found = own.rpn.propose([x[0] for x in logits], [x[0] for x in deltas], anchors, (256, 320), 1000)
        assert found.shape == expected.shape
        # those that score alike to the last bits may change places, no more
        assert torch.cdist(expected, found, p=torch.inf).min(1).values.max() < 1e-2
        # of the very same numbers it makes the same proposals in the same order
        logits, deltas = (_by_anchor(maps, count) for maps, count in zip(said[0], (1, 4), strict=True))
        again = own.rpn.propose([x[:, 0] for x in logits], deltas, anchors, (256, 320), 1000)
        assert (again - expected).abs().max() <= 1e-4
        pooled = theirs.roi_heads.box_roi_pool(named, [expected], [(256, 320)])
        scores, _ = theirs.roi_heads.box_predictor(theirs.roi_heads.box_head(pooled))
        assert relative(scores[:, :2], own.box(pyramid, [expected])[0]) <= 1e-5


def test_frozen_norms_without_eps_stay_what_they_are(tmp_path: Path) -> None:
    theirs = randomised(keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None))
    state = {k: v for k, v in theirs.state_dict().items() if not k.endswith("num_batches_tracked")}
    key = "backbone.body.layer1.0.bn1.running_var"
    state[key] = torch.full_like(state[key], 1e-6)  # where eps decides
    torch.save(state, tmp_path / "theirs.pth")
    assert "eps 0" in import_checkpoint(tmp_path / "theirs.pth", tmp_path / "own.safetensors").text()
    own, _ = load_model(tmp_path / "own.safetensors")
    norm = own.backbone.stages[0][0].bn1
    x = torch.randn(1, 64, 4, 4)
    weight, bias = state[key.replace("running_var", "weight")], state[key.replace("running_var", "bias")]
    mean = state[key.replace("running_var", "running_mean")]
    wanted = (x - mean.view(1, -1, 1, 1)) / 1e-3 * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)
    assert relative(wanted, norm.eval()(x)) <= 1e-5


def test_the_zoo_of_parsing_rcnn_fits(tmp_path: Path) -> None:
    state = zoo_state()
    torch.save({"model": {f"module.{k}": v for k, v in state.items()}, "iter": 3}, tmp_path / "zoo.pth")
    report = import_checkpoint(tmp_path / "zoo.pth", tmp_path / "own.safetensors")
    assert report.source == "zoo"
    assert not report.missing
    assert not report.unfit
    assert not report.unused
    assert report.fresh == ("densepose_head", "densepose_trunk")
    own, config = load_model(tmp_path / "own.safetensors")
    assert config.model.stride_in_1x1
    assert torch.equal(own.box.delta.bias, state["Fast_RCNN.Output.bbox_pred.bias"][4:])
    assert torch.equal(own.fpn.lateral[0][0].weight, state["Conv_Body_FPN.fpn_in.2.weight"])


def test_the_zoos_weights_of_mhp_have_its_classes(tmp_path: Path) -> None:
    torch.save(zoo_state(classes=59, even=True), tmp_path / "zoo.pth")
    assert import_checkpoint(tmp_path / "zoo.pth", tmp_path / "own.safetensors").written
    own, config = load_model(tmp_path / "own.safetensors")
    assert (config.model.taxonomy, config.model.parsing_classes) == (MHP, 59)
    assert len(own.parsing_head.up.deconv.bias) == 59


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, (str(self.path),))


def test_files_that_are_no_weights_are_named(tmp_path: Path) -> None:
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"model": _Evil(tmp_path / "ran")}))
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04 broken")
    (tmp_path / "text.pkl").write_bytes(b"hello")
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    save_file({"layer.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    for name in ("evil.pkl", "cut.pth", "text.pkl", "none.pth", "other.safetensors", "absent.pth"):
        with pytest.raises(CheckpointError):
            import_checkpoint(tmp_path / name, tmp_path / "own.safetensors")
    assert not (tmp_path / "own.safetensors").exists()
    assert not (tmp_path / "ran").exists()


def _call(module: str, name: str, *arguments: bytes) -> bytes:
    """A pickle that calls a global: protocol 0, written by hand."""
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR."


ARRAY = b"cnumpy\nndarray\n"
HOSTILE = {
    "a command": _call("os", "system", b"S'touch RAN'\n"),
    "eval": _call("builtins", "eval", b'S\'open("RAN", "w")\'\n'),
    "getattr": _call("builtins", "getattr", ARRAY, b"S'tofile'\n"),
    "a file by numpy": _call("numpy", "load", b"S'x.npy'\n"),
    "another name in a known module": _call("numpy.core.multiarray", "fromfile", b"S'x'\n"),
    "a dotted name": pickle.PROTO + b"\x04" + b"\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
    "a huge array": _call("numpy", "ndarray", b"(L1000000000000L\nt"),
    "a huge array, rebuilt": _call("numpy.core.multiarray", "_reconstruct", ARRAY, b"(L1000000000000L\nt", b"S'b'\n"),
    "a persistent name": b"Pwhere\n.",
    "an empty number": _call("numpy.core.multiarray", "scalar", b"cnumpy\ndtype\n(S'f4'\ntR", b"S''\n"),
    "an extension": b"\x82\x01.",
    "deep nesting": b"(" * 100_000 + b"t" * 100_000 + b".",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_run_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for wrapped in (HOSTILE[name], b"(S'model'\n" + HOSTILE[name][:-1] + b"d."):
        (tmp_path / "file.pkl").write_bytes(wrapped)
        with pytest.raises(CheckpointError, match=r"file\.pkl"):
            read_tensors(tmp_path / "file.pkl")
    assert [path.name for path in tmp_path.iterdir()] == ["file.pkl"]


@pytest.mark.parametrize("suffix", [".pkl", ".pth", ".safetensors"])
def test_cut_and_altered_files_are_named_or_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"file{suffix}"
    tensors = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.ones(4)}
    if suffix == ".pkl":
        path.write_bytes(pickle.dumps({"model": {k: v.numpy() for k, v in tensors.items()}}, protocol=2))
    elif suffix == ".pth":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
    assert torch.equal(read_tensors(path)["a.weight"], tensors["a.weight"])
    whole, rng = path.read_bytes(), random.Random(7)
    for attempt in range(150):
        broken = bytearray(whole)
        if attempt % 2:
            broken = broken[: rng.randrange(len(broken))]
        for _ in range(rng.randrange(4) if attempt % 2 else 1 + rng.randrange(4)):
            if broken:
                broken[rng.randrange(len(broken))] = rng.randrange(256)
        path.write_bytes(bytes(broken))
        with contextlib.suppress(CheckpointError):  # the only error that may come of it
            assert all(isinstance(value, Tensor) for value in read_tensors(path).values())


def test_values_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    save_file({"a.weight": torch.tensor([1.0, float("nan")])}, tmp_path / "nan.safetensors")
    with pytest.raises(CheckpointError, match=r"a\.weight holds values that are no finite numbers"):
        read_tensors(tmp_path / "nan.safetensors")


def test_a_part_of_a_file_is_reported_and_only_written_on_request(tmp_path: Path) -> None:
    state = flat(Variant(deep_lab=True).shapes())
    del state["roi_heads.box_head.fc2.weight"]
    state["backbone.fpn_output3.weight"] = torch.zeros(128, 256, 3, 3)
    state["roi_heads.densepose_predictor.sigma_2_lowres.weight"] = torch.zeros(512, 25, 4, 4)
    torch.save(state, tmp_path / "part.pth")
    arguments = ["import", str(tmp_path / "part.pth"), "-o", str(tmp_path / "own.safetensors")]
    refused = CliRunner().invoke(build(), arguments)
    assert refused.exit_code == 1
    assert "box.fc2.weight" in refused.output
    assert "(128, 256, 3, 3) for (256, 256, 3, 3)" in refused.output
    assert "roi_heads.densepose_predictor (1)" in refused.output
    assert not (tmp_path / "own.safetensors").exists()
    taken = CliRunner().invoke(build(), [*arguments, "--partial"])
    assert taken.exit_code == 0
    assert load_model(tmp_path / "own.safetensors")[1].name == "detectron2"


def test_a_second_version_of_torchvision_is_refused(tmp_path: Path) -> None:
    state = of_torchvision(lambda: fasterrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None))
    torch.save(state, tmp_path / "v2.pth")
    with pytest.raises(CheckpointError, match="second version"):
        import_checkpoint(tmp_path / "v2.pth", tmp_path / "own.safetensors")
