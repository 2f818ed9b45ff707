"""Batches of a mixture, read ahead by other processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
from torch.utils.data import DataLoader, Dataset

from training.data.batch import Batch
from training.data.mixture import Mixture
from training.errors import DatasetError
from training.interruption import obey_parent_alone


class _Reading(Dataset[Any]):
    """Batches of a mixture. An error is returned: raised in a loader's process, it would come with tracebacks."""

    def __init__(self, mixture: Mixture) -> None:
        self.mixture = mixture

    def __len__(self) -> int:
        return len(self.mixture)

    def __getitem__(self, index: int) -> Batch | DatasetError:
        try:
            return Batch.of(self.mixture[index])
        except DatasetError as error:
            return error


def read_batches(mixture: Mixture, numbers: range, workers: int, *, pin_memory: bool) -> Iterator[Batch]:
    """The batches of these numbers, in their order.

    Args:
        workers: processes that read ahead; 0 reads in this one.
        pin_memory: into memory from which GPUs copy faster.

    Raises:
        DatasetError: a picture is missing or broken.
    """
    loader = DataLoader(
        _Reading(mixture),
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=pin_memory,
        worker_init_fn=_prepare_worker,
    )
    for batch in loader:
        if isinstance(batch, DatasetError):
            raise batch
        yield batch


def _prepare_worker(_: int) -> None:
    """Workers are as many as the cores that they may use: OpenCV's own threads would crowd each other out."""
    cv2.setNumThreads(1)
    obey_parent_alone()
