"""Opening what `parsing-rcnn evaluate` measures as an `Analyzer`: weights of a run, exported models, or a gateway."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from parsing_rcnn.analyzer import Analyzer
from parsing_rcnn.errors import InvalidOptions

if TYPE_CHECKING:
    from parsing_rcnn.pipeline import GraphPipeline


def open_analyzer(
    *,
    checkpoint: Path | None = None,
    device: str = "cpu",
    scales: tuple[int, ...] = (),
    flip: bool = False,
    symmetry: Path | None = None,
    server: str | None = None,
    timeout: float = 60.0,
    key: str | None = None,
    repository: Path | None = None,
    model: str | None = None,
    runtime: str = "auto",
    precision: str = "auto",
    sweep: bool = True,
) -> Analyzer:
    """Open the analyzer that the options of `evaluate` name.

    Args:
        checkpoint: weights of a run, in torch on `device`; `scales`, `flip` and `symmetry` as in `AugmentedAnalyzer`.
        server: address of a gateway; timeout: seconds for one picture; key: its API key (None: see `Gateway`).
        repository, model, runtime, precision: of exported models, without the others: see
            `parsing_rcnn.pipeline.Pipeline`.
        sweep: remove specks from the maps (`GraphPipeline.sweep`); a gateway always does.

    Raises:
        InvalidOptions: options that exclude each other, or a checkpoint that cannot be read.
        DatasetError: the symmetry cannot be read.
        ParsingRCNNError: it cannot be opened.
    """
    if checkpoint is not None and server is not None:
        raise InvalidOptions("--checkpoint and --server exclude each other: name one")
    if key is not None and server is None:
        raise InvalidOptions("--key is what --server asks for: it goes with --server")
    if (scales or flip) and checkpoint is None:
        raise InvalidOptions("--scales and --flip need --checkpoint: only the network in torch is augmented")
    if symmetry is not None and not flip:
        raise InvalidOptions("--uv-symmetry says how U and V mirror: it goes with --flip")
    if (checkpoint or server) and (repository or model or (runtime, precision) != ("auto", "auto")):
        raise InvalidOptions("--repository, --model, --runtime and --precision are of exported models: leave them out")
    if checkpoint is not None:
        from training.engine import TorchAnalyzer, load_checkpoint
        from training.errors import CheckpointError
        from training.evaluation.keypoint_analyzer import KeypointAnalyzer
        from training.evaluation.tta import AugmentedAnalyzer

        try:
            loaded = load_checkpoint(checkpoint, device)
        except CheckpointError as error:
            raise InvalidOptions(str(error)) from error
        if loaded[1].model.keypoints:
            analyzer: GraphPipeline = KeypointAnalyzer(*loaded, scales=scales, flip=flip, symmetry=symmetry)
        elif scales or flip:
            analyzer = AugmentedAnalyzer(*loaded, scales=scales, flip=flip, symmetry=symmetry)
        else:
            analyzer = TorchAnalyzer(*loaded)
        analyzer.sweep = sweep
        return analyzer
    if server is not None:
        from parsing_rcnn_client.sdk.gateway import Gateway

        return Gateway(server, timeout, api_key=key)
    from parsing_rcnn.pipeline import Pipeline

    pipeline = Pipeline(repository, model=model, runtime=runtime, precision=precision)
    pipeline.sweep = sweep
    return pipeline
