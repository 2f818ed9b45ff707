"""PyramidRoiAlign on the CPU: numbers by hand, torchvision and ONNX Runtime, and boxes that nobody should send."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torchvision.ops import roi_align

from export.plugin import PluginError, PyramidRoiAlign, pack
from training.model import boxes as box_ops

HEIGHT, WIDTH = 256, 320
LEVELS = (2, 3, 4, 5)
BORDER = 112.0, 224.0, 448.0


def pyramid(channels: int, dtype: type = np.float32) -> list[NDArray[Any]]:
    source = np.random.default_rng(3)
    return [source.normal(size=(channels, HEIGHT >> k, WIDTH >> k)).astype(dtype) for k in LEVELS]


def random_boxes(count: int) -> NDArray[np.float32]:
    """Boxes of all levels, many of them partly or wholly outside."""
    source = np.random.default_rng(5)
    side = np.exp(source.uniform(np.log(2), np.log(1500), (count, 2)))
    middle = source.uniform(-100, 400, (count, 2))
    return np.concatenate([middle - side / 2, middle + side / 2], 1).astype(np.float32)


HOSTILE = np.array(
    [
        [10, 10, 10, 10],  # empty
        [50, 60, 20, 30],  # turned round
        [50, 30, 20, 60],  # one side turned round: its area is negative
        [-900, -900, -800, -800],
        [5000, 5000, 5100, 5100],
        [-1e6, -1e6, 1e6, 1e6],
        [-4, -4, 0, 0],  # samples between one cell outside and the border
        [WIDTH - 2, HEIGHT - 2, WIDTH + 2, HEIGHT + 2],
        [0, 0, WIDTH, HEIGHT],
    ],
    np.float32,
)


def by_torchvision(maps: list[NDArray[Any]], rois: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Level by `training.model.boxes.level_of`, then torchvision on each level's own boxes."""
    boxes = torch.from_numpy(rois)
    chosen = box_ops.level_of(boxes, LEVELS[0], LEVELS[-1])
    indexed = torch.cat([torch.zeros(len(boxes), 1), boxes], 1)
    out = torch.zeros(len(rois), maps[0].shape[0], size, size)
    for level, values in zip(LEVELS, maps, strict=True):
        rows = torch.nonzero(chosen == level)[:, 0]
        feature = torch.from_numpy(values.astype(np.float32))[None]
        out[rows] = roi_align(feature, indexed[rows], size, 1 / 2**level, 2, False)
    return out.numpy()


def by_onnxruntime(feature: NDArray[np.float32], rois: NDArray[np.float32], size: int, level: int) -> Any:
    node = helper.make_node(
        "RoiAlign",
        ["x", "rois", "picture"],
        ["y"],
        coordinate_transformation_mode="output_half_pixel",
        output_height=size,
        output_width=size,
        sampling_ratio=2,
        spatial_scale=1 / 2**level,
    )
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, *feature.shape]),
        helper.make_tensor_value_info("rois", TensorProto.FLOAT, ["n", 4]),
        helper.make_tensor_value_info("picture", TensorProto.INT64, ["n"]),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", feature.shape[0], size, size])]
    model = helper.make_model(
        helper.make_graph([node], "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 16)], ir_version=10
    )
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": feature[None], "rois": rois, "picture": np.zeros(len(rois), np.int64)})[0]


def test_golden(pool: PyramidRoiAlign) -> None:
    # a ramp x + 10 y on P2; (4, 8, 20, 24) is (1, 2, 5, 6) there; the mean of a bin is the ramp at its middle
    y, x = np.mgrid[0:8, 0:8].astype(np.float32)
    found = pool([(x + 10 * y)[None]], np.array([[4, 8, 20, 24]], np.float32), size=2)
    np.testing.assert_allclose(found, [[[[32, 34], [52, 54]]]], rtol=1e-6)
    # no half-pixel shift: one cell from (0, 0) is sampled at 0.25 and 0.75, so its mean is the ramp at a half
    found = pool([(x + 10 * y)[None]], np.array([[0, 0, 4, 4]], np.float32), size=1)
    np.testing.assert_allclose(found, [[[[5.5]]]], rtol=1e-6)
    # beyond the border the ramp stays at 7 up to one cell, then counts as 0: samples at 6.5, 7.5, and twice outside
    found = pool([x[None]], np.array([[24, 8, 40, 12]], np.float32), size=1)
    np.testing.assert_allclose(found, [[[[(7 + 0) / 2]]]], rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 8, 13])
@pytest.mark.parametrize("size", [7, 32])
def test_torchvision(pool: PyramidRoiAlign, channels: int, size: int) -> None:
    maps, rois = pyramid(channels), np.concatenate([random_boxes(60), HOSTILE])
    wanted = by_torchvision(maps, rois, size)
    np.testing.assert_allclose(pool(maps, rois, size=size), wanted, atol=2e-5)
    last = pool([m.transpose(1, 2, 0) for m in maps], rois, size=size, channels_last=True)
    np.testing.assert_array_equal(last.transpose(0, 3, 1, 2), pool(maps, rois, size=size))


@pytest.mark.parametrize("level", LEVELS)
def test_onnxruntime_on_one_level(pool: PyramidRoiAlign, level: int) -> None:
    feature, rois = pyramid(3)[level - 2], np.concatenate([random_boxes(60), HOSTILE])
    found = pool([feature], rois, size=7, first_level=level)
    np.testing.assert_allclose(found, by_onnxruntime(feature, rois, 7, level), atol=2e-5)


@pytest.mark.parametrize("channels_last", [False, True])
def test_half_features(pool: PyramidRoiAlign, channels_last: bool) -> None:
    maps, rois = pyramid(8, np.float16), np.concatenate([random_boxes(60), HOSTILE])
    given = [m.transpose(1, 2, 0) for m in maps] if channels_last else maps
    found = pool(given, rois, size=7, channels_last=channels_last)
    assert found.dtype == np.float16
    found = found.transpose(0, 3, 1, 2) if channels_last else found
    # sums are fp32, so only the last rounding is half
    wanted = by_torchvision(maps, rois, 7)
    np.testing.assert_allclose(found.astype(np.float32), wanted, atol=2e-5, rtol=2**-11 * 1.01)


def test_every_half_survives(pool: PyramidRoiAlign) -> None:
    # a map of one cell gives itself back: both conversions, for all 65536 bit patterns
    values = np.arange(65536, dtype=np.uint16).view(np.float16)
    found = pool([values[:, None, None]], np.array([[0, 0, 1, 1]], np.float32), size=1, first_level=0)
    finite = np.isfinite(values)
    np.testing.assert_array_equal(found.ravel()[finite], values[finite])
    assert not np.isfinite(found.ravel()[~finite]).any()


def test_halves_round_to_even(pool: PyramidRoiAlign) -> None:
    # the mean of neighbours in a row lies halfway between two halves, where rounding goes to the even one
    source = np.random.default_rng(1)
    values = source.uniform(0, 65000, 4000).astype(np.float16)
    values = np.concatenate([values, source.uniform(0, 1e-4, 4000).astype(np.float16)])
    pairs = np.stack([values, np.nextafter(values, np.float16(np.inf))], -1)[:, None, :]
    found = pool([pairs], np.array([[0, 0, 1, 0]], np.float32), size=1, first_level=0)
    wanted = ((pairs[..., 0].astype(np.float64) + pairs[..., 1].astype(np.float64)) / 2).astype(np.float16)
    np.testing.assert_array_equal(found.ravel(), wanted.ravel())


@pytest.mark.parametrize("index", [0, 1, 2])
def test_level_borders(pool: PyramidRoiAlign, index: int) -> None:
    maps = [np.full((1, 64, 64), k, np.float32) for k in LEVELS]
    sides = BORDER[index] + np.array([-0.01, -0.001, 0.0, 0.001, 0.01], np.float32)
    rois = np.stack([np.zeros_like(sides), np.zeros_like(sides), sides, sides], 1)
    found = np.rint(pool(maps, rois, size=1)[:, 0, 0, 0])
    assert found.tolist() == [index + 2, index + 2, index + 3, index + 3, index + 3]
    assert found.tolist() == box_ops.level_of(torch.from_numpy(rois), 2, 5).tolist()


def test_level_of_many_boxes(pool: PyramidRoiAlign) -> None:
    maps = [np.full((1, 700, 700), k, np.float32) for k in (3, 4, 5)]  # constant and larger than any box
    sides = np.random.default_rng(2).uniform(1, 1200, (4000, 2)).astype(np.float32)
    rois = np.concatenate([np.zeros_like(sides), sides], 1)
    found = np.rint(pool(maps, rois, size=1, first_level=3)[:, 0, 0, 0])
    np.testing.assert_array_equal(found, box_ops.level_of(torch.from_numpy(rois), 3, 5).numpy())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3.4e38, -3.4e38])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_numbers_that_are_no_places(pool: PyramidRoiAlign, value: float, dtype: type) -> None:
    maps = pyramid(9, dtype)
    rois = np.tile(np.array([8, 8, 90, 90], np.float32), (6, 1))
    rois[np.arange(4), np.arange(4)] = value
    rois[4] = value
    found = pool(maps, rois, size=7)
    assert np.isfinite(found).all()
    if not np.isfinite(value):
        assert not found[:5].any()
    np.testing.assert_allclose(found[5:].astype(np.float32), by_torchvision(maps, rois[5:], 7), atol=2e-3)


def test_nobody(pool: PyramidRoiAlign) -> None:
    rois = np.zeros((0, 4), np.float32)
    assert pool(pyramid(4), rois, size=7).shape == (0, 4, 7, 7)
    last = [m.transpose(1, 2, 0) for m in pyramid(4)]
    assert pool(last, rois, size=7, channels_last=True).shape == (0, 7, 7, 4)


def test_refusals(pool: PyramidRoiAlign, tmp_path: Path) -> None:
    maps, rois = pyramid(2), random_boxes(3)
    with pytest.raises(PluginError, match="float32 or all float16"):
        pool([maps[0], maps[1].astype(np.float16)], rois, size=7)
    with pytest.raises(PluginError, match="same channels"):
        pool([maps[0], maps[1][:1]], rois, size=7)
    with pytest.raises(PluginError, match=r"float32 \[n,4\]"):
        pool(maps, rois.astype(np.float64), size=7)
    with pytest.raises(PluginError, match="size must be between 1 and 256"):
        pool(maps, rois, size=0)
    with pytest.raises(PluginError, match="sampling ratio"):
        pool(maps, rois, size=7, sampling_ratio=0)
    with pytest.raises(PluginError, match="between 1 and 65536 channels"):
        pool([np.zeros((65537, 1, 1), np.float32)], rois[:0], size=7)
    with pytest.raises(PluginError, match="make plugin"):
        PyramidRoiAlign(tmp_path / "absent.so")
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(PluginError, match="cannot be opened"):
        PyramidRoiAlign(tmp_path / "text.so")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"channels": 2**31 - 1, "roi_count": 0}, "between 1 and 65536 channels"),
        ({"roi_count": 2**61 - 1, "size": 256}, r"so many RoIs would take 2\^63 bytes"),
        ({"roi_count": 2**59}, r"so many RoIs would take 2\^63 bytes"),  # by their own four numbers
        ({"height": 2**31 - 1, "width": 2**31 - 1}, r"a level would take 2\^63 bytes"),
    ],
)
@pytest.mark.parametrize("channels_last", [False, True])
def test_numbers_that_overflow_are_refused(
    pool: PyramidRoiAlign, given: dict[str, int], problem: str, channels_last: bool
) -> None:
    """By whoever calls the C ABI with them: arrays of that size there are none."""
    room = np.zeros(16, np.float32)
    level = (room.ctypes.data, given.get("height", 1), given.get("width", 1))
    arguments = pack(
        [level], room.ctypes.data, room.ctypes.data,
        roi_count=given.get("roi_count", 1), channels=given.get("channels", 4), size=given.get("size", 1),
        first_level=2, sampling_ratio=2, half=False, channels_last=channels_last,
    )  # fmt: skip
    with pytest.raises(PluginError, match=problem):
        pool.run(arguments)
