"""Checks the CUDA kernel on a GPU: its numbers against the CPU library, its speed against torchvision and the memory.

    make plugin && python -m export.plugin.check_device --out docs/plugin.json

Exits non-zero where a value differs beyond the bound. To look for bad memory accesses: `compute-sanitizer python -m
export.plugin.check_device --no-speed`.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import roi_align

from export.plugin import BUILD, CPU_LIBRARY, CUDA_LIBRARY, PluginError, PyramidRoiAlign, load, pack
from training.model.boxes import level_of

CANVAS = (800, 1344)
PICTURES = 6  # timed in turns: together their features are larger than a GPU's caches
BOUNDS = {torch.float32: (1e-4, 1e-5), torch.float16: (1e-3, 2**-9)}  # absolute, relative: sums in another order
UNUSUAL = (
    (10, 10, 10, 10),
    (50, 60, 20, 30),
    (5000, 5000, 5100, 5100),
    (-1e6, -1e6, 1e6, 1e6),
    (float("nan"), 0, 8, 8),
    (0, 0, float("inf"), 8),
    (-3.4e38, -3.4e38, 3.4e38, 3.4e38),
)


@dataclass(frozen=True)
class Case:
    """One shape of work: `rois` RoIs pooled to size x size from `levels`."""

    name: str
    rois: int
    size: int
    levels: tuple[int, ...]
    channels: int = 256


CASES = (
    Case("box branch, 1000 proposals", 1000, 7, (2, 3, 4, 5)),
    Case("box branch, 300 proposals", 300, 7, (2, 3, 4, 5)),
    Case("box branch of 100 channels", 100, 7, (2, 3, 4, 5), 100),
    Case("P2 for 5 people", 5, 32, (2,)),
    Case("P2 for 64 people", 64, 32, (2,)),
    Case("nobody", 0, 32, (2,)),
)


@dataclass(frozen=True)
class Result:
    """The result of one case.

    Attributes:
        worst: largest difference from the CPU library. agrees: whether it is within the bound.
        kernel_us, torchvision_us: median times, microseconds.
        floor_us: the bytes that must move, divided by the measured bandwidth.
    """

    name: str
    dtype: str
    layout: str
    worst: float
    agrees: bool
    kernel_us: float | None = None
    torchvision_us: float | None = None
    floor_us: float | None = None


class Kernel:
    """The CUDA library on torch tensors, on torch's current stream."""

    def __init__(self, library: Path) -> None:
        self._library = load(library)

    def __call__(self, maps: Sequence[Tensor], rois: Tensor, case: Case, channels_last: bool) -> Tensor:
        shape = (case.size, case.size, case.channels) if channels_last else (case.channels, case.size, case.size)
        out = torch.empty((len(rois), *shape), dtype=maps[0].dtype, device=rois.device)
        arguments = pack(
            [(m.data_ptr(), m.shape[2], m.shape[3]) for m in maps],
            rois.data_ptr(),
            out.data_ptr(),
            roi_count=len(rois),
            first_level=case.levels[0],
            channels=case.channels,
            size=case.size,
            sampling_ratio=2,
            half=out.dtype == torch.float16,
            channels_last=channels_last,
        )
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        if self._library.prcnn_roi_align_cuda(ctypes.byref(arguments), stream):
            raise PluginError("the CUDA kernel could not be launched; was it built for this GPU's architecture?")
        return out.permute(0, 3, 1, 2) if channels_last else out


def make(case: Case, dtype: torch.dtype, channels_last: bool, seed: int = 0) -> tuple[list[Tensor], Tensor]:
    """Random features and people-like boxes of one picture on the GPU."""
    source = torch.Generator().manual_seed(seed)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    sides = [(case.channels, CANVAS[0] >> k, CANVAS[1] >> k) for k in case.levels]
    maps = [torch.randn(1, *s, generator=source).to(dtype).cuda().contiguous(memory_format=layout) for s in sides]
    height = torch.exp(torch.rand(case.rois, generator=source) * 3.5 + 3)
    size = torch.stack([height * 0.45, height], 1)
    middle = torch.rand(case.rois, 2, generator=source) * torch.tensor([CANVAS[1], CANVAS[0]])
    return maps, torch.cat([middle - size / 2, middle + size / 2], 1).cuda()


def by_torchvision(maps: Sequence[Tensor], rois: Tensor, case: Case) -> Callable[[], Tensor]:
    """The usual way, to be timed: level by level, into one result. Which RoI is on which level is computed before."""
    indexed = torch.cat([torch.zeros_like(rois[:, :1]), rois], 1).to(maps[0].dtype)
    if len(maps) == 1:
        return lambda: roi_align(maps[0], indexed, case.size, 1 / 2 ** case.levels[0], 2, False)
    chosen = level_of(rois, case.levels[0], case.levels[-1])
    rows = [torch.nonzero(chosen == level)[:, 0] for level in case.levels]

    def pooled() -> Tensor:
        out = maps[0].new_empty(len(rois), case.channels, case.size, case.size)
        for level, feature, own in zip(case.levels, maps, rows, strict=True):
            out.index_copy_(0, own, roi_align(feature, indexed[own], case.size, 1 / 2**level, 2, False))
        return out

    return pooled


def least_bytes(case: Case, rois: NDArray[np.float32], item: int) -> int:
    """Bytes that any implementation must move: each cell that a sample touches once, the RoIs, the output."""
    first, last = case.levels[0], case.levels[-1]
    chosen = level_of(torch.from_numpy(rois), first, last).numpy().astype(int)
    cells = 0
    for level in case.levels:
        high, wide = CANVAS[0] >> level, CANVAS[1] >> level
        touched = np.zeros((high, wide), bool)
        for x1, y1, x2, y2 in rois[chosen == level] / 2**level:
            touched[np.ix_(_touched(y1, y2, case.size, high), _touched(x1, x2, case.size, wide))] = True
        cells += int(touched.sum())
    return item * case.channels * (cells + len(rois) * case.size**2) + rois.nbytes


def _touched(start: float, end: float, size: int, length: int) -> NDArray[np.intp]:
    """Rows, or columns, that the samples of one RoI read."""
    step = max(end - start, 1) / size / 2
    at = start + (np.arange(2 * size) + 0.5) * step
    low = np.clip(at[(at >= -1) & (at <= length)], 0, length - 1).astype(np.intp)
    return np.unique(np.concatenate([low, np.minimum(low + 1, length - 1)]))


def microseconds(works: Sequence[Callable[[], object]], rounds: int = 30) -> float:
    """Median time on the GPU of one of `works`.

    They are captured one after the other in a CUDA graph, which is replayed: nothing waits for Python, and as each has
    its own memory, it finds the caches full of the others' data.
    """
    for work in works:
        work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = [work() for work in works]  # results stay alive: the next one would reuse their memory
    times: list[float] = []
    for round_number in range(rounds + 5):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        if round_number >= 5:
            times.append(start.elapsed_time(end) * 1000 / len(kept))
    return statistics.median(times)


def bandwidth() -> float:
    """Bytes per microsecond of a plain copy of 512 MiB, reads and writes both counted."""
    source = torch.randint(255, (512 << 20,), dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * float(source.nbytes) / microseconds([lambda: target.copy_(source)], 20)


def compare(kernel: Kernel, cpu: PyramidRoiAlign, case: Case, dtype: torch.dtype, last: bool) -> tuple[float, bool]:
    """The largest difference from the CPU library, unusual boxes among the others; and whether all are in bounds."""
    maps, rois = make(case, dtype, last)
    rois = torch.cat([rois, torch.tensor(UNUSUAL, device="cuda")]) if case.rois else rois
    found = kernel(maps, rois, case, last).float().cpu().numpy()
    host = [m[0].cpu().numpy() for m in maps]
    wanted = cpu(host, rois.cpu().numpy(), size=case.size, first_level=case.levels[0]).astype(np.float32)
    absolute, relative = BOUNDS[dtype]
    difference = np.abs(found - wanted)
    agrees = bool((difference <= absolute + relative * np.abs(wanted)).all())  # false for NaN as well
    return float(difference.max(initial=0)), agrees


def check(case: Case, dtype: torch.dtype, last: bool, libraries: Path, rate: float | None) -> Result:
    """Agreement, and speed where `rate` (bytes a microsecond) is given and there are RoIs."""
    kernel, cpu = Kernel(libraries / CUDA_LIBRARY), PyramidRoiAlign(libraries / CPU_LIBRARY)
    worst, agrees = compare(kernel, cpu, case, dtype, last)
    names: dict[str, Any] = {"name": case.name, "dtype": str(dtype).removeprefix("torch.")}
    names |= {"layout": "NHWC" if last else "NCHW", "worst": worst, "agrees": agrees}
    if rate is None or case.rois == 0:
        return Result(**names)
    pictures = [make(case, dtype, last, seed) for seed in range(PICTURES)]
    least = [least_bytes(case, rois.cpu().numpy(), maps[0].element_size()) for maps, rois in pictures]
    return Result(
        **names,
        kernel_us=microseconds([partial(kernel, maps, rois, case, last) for maps, rois in pictures]),
        torchvision_us=microseconds([by_torchvision(*p, case) for p in pictures]),
        floor_us=statistics.mean(least) / rate,
    )


def main(words: Sequence[str] | None = None) -> int:
    """Print one line a case; 0 where all agree, 1 where one does not, 2 where nothing could be run."""
    parser = argparse.ArgumentParser(prog="python -m export.plugin.check_device", description=__doc__)
    parser.add_argument("--libraries", type=Path, default=BUILD, help="folder of `make plugin`")
    parser.add_argument("--no-speed", action="store_true", help="agreement alone, as under compute-sanitizer")
    parser.add_argument("--out", type=Path, help="write the results as JSON, with the device's name")
    options = parser.parse_args(words)
    if not torch.cuda.is_available():
        print("No CUDA device here; run this on a machine with an NVIDIA GPU and its driver.", file=sys.stderr)
        return 2
    try:
        rate = None if options.no_speed else bandwidth()
        results = [
            check(case, dtype, last, options.libraries, rate)
            for case in CASES
            for dtype in BOUNDS
            for last in (False, True)
        ]
    except PluginError as error:
        print(error, file=sys.stderr)
        return 2
    for r in results:
        speed = ""
        if r.kernel_us and r.torchvision_us and r.floor_us:
            speed = f"{r.kernel_us:9.1f} us  torchvision {r.torchvision_us:9.1f} us  floor {r.floor_us:7.1f} us"
        verdict = "ok " if r.agrees else "BAD"
        print(f"{verdict} {r.name:28} {r.dtype:8} {r.layout}  worst {r.worst:.1e}  {speed}")
    if options.out:
        described = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "cuda": torch.version.cuda}
        described["copy_gigabytes_per_second"] = None if rate is None else rate / 1000
        options.out.write_text(json.dumps({**described, "cases": [asdict(r) for r in results]}, indent=1) + "\n")
    return 0 if all(r.agrees for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
