"""PyramidRoiAlign in C++ and CUDA (`make plugin` builds it), and its CPU library called from Python."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ABI_VERSION = 1
FLOAT, HALF = 0, 1
NCHW, NHWC = 0, 1
SOURCE = Path(__file__).parent
BUILD = SOURCE.parents[1] / "build" / "plugin"
CPU_LIBRARY, CUDA_LIBRARY = "libprcnn_roi_align.so", "libprcnn_roi_align_cuda.so"
TENSORRT_LIBRARY = "libprcnn_plugin.so"


class PluginError(RuntimeError):
    """The library is missing or of another version, or the arrays do not fit; the message says which."""


class Level(ctypes.Structure):
    """`prcnn_level` of pyramid_roi_align.h."""

    _fields_ = (("data", ctypes.c_void_p), ("height", ctypes.c_int32), ("width", ctypes.c_int32))


class Arguments(ctypes.Structure):
    """`prcnn_roi_align_args` of pyramid_roi_align.h."""

    _fields_ = (
        ("levels", ctypes.POINTER(Level)),
        ("rois", ctypes.c_void_p),
        ("output", ctypes.c_void_p),
        ("roi_count", ctypes.c_int64),
        *(
            (name, ctypes.c_int32)
            for name in (
                "level_count",
                "first_level",
                "channels",
                "channel_stride",
                "size",
                "sampling_ratio",
                "type",
                "layout",
            )
        ),
    )


def load(path: Path) -> ctypes.CDLL:
    """Open a library of `make plugin`.

    Raises:
        PluginError: it is not there, cannot be opened, or speaks another version of the C ABI.
    """
    if not path.exists():
        raise PluginError(f"{path} is not there; build it with `make plugin`")
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise PluginError(f"{path} cannot be opened ({error}); build it on this machine with `make plugin`") from error
    found = int(library.prcnn_abi_version())
    if found != ABI_VERSION:
        raise PluginError(f"{path} speaks version {found}, this code version {ABI_VERSION}; run `make plugin` again")
    library.prcnn_roi_align_problem.restype = ctypes.c_char_p
    return library


class PyramidRoiAlign:
    """RoIAlign from the level that suits a box's size (FPN, eq. 1), all levels in one call, on the CPU.

    As aligned=False of torchvision. A RoI with a coordinate that is not finite gives zeros; an empty one counts as one
    cell.
    """

    def __init__(self, library: Path = BUILD / CPU_LIBRARY) -> None:
        self._library = load(library)

    def __call__(
        self,
        features: Sequence[NDArray[Any]],
        rois: NDArray[np.float32],
        *,
        size: int,
        first_level: int = 2,
        sampling_ratio: int = 2,
        channels_last: bool = False,
    ) -> NDArray[Any]:
        """Pool RoIs of one picture.

        Args:
            features: one map for each level, [C,H,W] or, with `channels_last`, [H,W,C]; all fp32 or all fp16. The
                first has stride 2**first_level, each further one twice the stride of the one before.
            rois: fp32 [n,4], x1, y1, x2, y2 in canvas pixels; n may be 0.
            size: bins on a side.

        Returns:
            [n,C,size,size] or [n,size,size,C], of the features' type.

        Raises:
            PluginError: shapes or types do not fit together.
        """
        maps = [np.ascontiguousarray(feature) for feature in features]
        kinds = {feature.dtype for feature in maps}
        if len(kinds) != 1 or not kinds <= {np.dtype(np.float32), np.dtype(np.float16)}:
            raise PluginError(f"features must all be float32 or all float16, not {sorted(str(k) for k in kinds)}")
        axis = 2 if channels_last else 0
        if any(m.ndim != 3 for m in maps) or len({m.shape[axis] for m in maps}) != 1:
            raise PluginError(
                f"every level needs three axes and the same channels, not shapes {[m.shape for m in maps]}"
            )
        if rois.dtype != np.float32 or rois.ndim != 2 or rois.shape[1] != 4:
            raise PluginError(f"rois must be float32 [n,4], not {rois.dtype} {list(rois.shape)}")
        channels = maps[0].shape[axis]
        shape = (len(rois), size, size, channels) if channels_last else (len(rois), channels, size, size)
        output = np.empty(shape, maps[0].dtype)
        boxes = np.ascontiguousarray(rois)
        sides = [m.shape[:2] if channels_last else m.shape[1:] for m in maps]
        arguments = pack(
            [(m.ctypes.data, *side) for m, side in zip(maps, sides, strict=True)],
            boxes.ctypes.data,
            output.ctypes.data,
            roi_count=len(boxes),
            first_level=first_level,
            channels=channels,
            size=size,
            sampling_ratio=sampling_ratio,
            half=maps[0].dtype == np.float16,
            channels_last=channels_last,
        )
        self.run(arguments)
        return output

    def run(self, arguments: Arguments) -> None:
        """Call the library with arguments of the C ABI.

        Raises:
            PluginError: it refuses them; the message gives its reason.
        """
        if self._library.prcnn_roi_align(ctypes.byref(arguments)):
            problem = self._library.prcnn_roi_align_problem(ctypes.byref(arguments))
            raise PluginError(f"PyramidRoiAlign: {problem.decode() if problem else 'failed'}")


def pack(
    levels: Sequence[tuple[int, int, int]],
    rois: int,
    output: int,
    *,
    roi_count: int,
    first_level: int,
    channels: int,
    size: int,
    sampling_ratio: int,
    half: bool,
    channels_last: bool,
) -> Arguments:
    """Arguments of the C ABI from addresses on the CPU or the GPU; `levels`: (address, height, width) each."""
    return Arguments(
        (Level * len(levels))(*(Level(*level) for level in levels)),
        rois,
        output,
        roi_count,
        len(levels),
        first_level,
        channels,
        channels,
        size,
        sampling_ratio,
        HALF if half else FLOAT,
        NHWC if channels_last else NCHW,
    )
