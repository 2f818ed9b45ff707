"""The processes of one run: torchrun starts them, and `join` connects them. Without torchrun there is one."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import torch
import torch.distributed

from training.errors import ConfigError

_PARTED = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out")


@dataclass(frozen=True)
class World:
    """This process among those of the run.

    Attributes:
        rank, size: its number, and how many processes there are over all hosts.
        device: where its network lies.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """Whether this process writes logs and checkpoints."""
        return self.rank == 0

    def of_leader(self, value: float) -> float:
        """The first process's value. Every process has to call this."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(shared, 0)
        return float(shared)

    def any(self, value: bool) -> bool:
        """Whether `value` is true in any process. Every process has to call this, and waits for the others."""
        if self.size == 1:
            return value
        shared = torch.tensor([float(value)], device=self.device)
        torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
        return bool(shared)

    def gathered(self, value: int | None) -> list[int | None]:
        """The values of all processes, by rank. Every process has to call this."""
        if self.size == 1:
            return [value]
        values: list[int | None] = [None] * self.size
        torch.distributed.all_gather_object(values, value)
        return values


def join(device: str = "auto") -> World:
    """Join the processes that torchrun started (NCCL on GPUs, gloo on CPUs), or be alone.

    Args:
        device: "auto" (a GPU where there is one), "cpu" or "cuda".

    Raises:
        ConfigError: CUDA is asked for and there is none, or this host has fewer GPUs than processes, which NCCL refuses
            (and processes that share a GPU would slow each other down).
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "train.device=cuda, but torch sees no GPU here; set train.device=cpu, or install its CUDA build"
        )
    gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if gpu and local >= torch.cuda.device_count():
        raise ConfigError(
            f"process {local + 1} of this host has no GPU of its own: torch sees {torch.cuda.device_count()}; start at "
            "most that many (torchrun --nproc_per_node); train.accumulate makes up for the batch"
        )
    where = torch.device("cuda", local) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(where)
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return World(device=where)
    torch.distributed.init_process_group("nccl" if gpu else "gloo")
    return World(torch.distributed.get_rank(), torch.distributed.get_world_size(), where)


def is_parting(error: RuntimeError) -> bool:
    """Whether an error means that another process left while this one waited for it."""
    if isinstance(error, torch.distributed.DistError):  # of NCCL and of the store; gloo's is a plain one
        return True
    message = str(error)
    return "gloo" in message and any(why in message for why in _PARTED)


def leave() -> None:
    """Disconnect from the other processes."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
