"""Exponential moving average of the weights: this is what is evaluated, exported and shipped."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class WeightAverage:
    """Average of parameters and of floating buffers (batch-norm statistics), with a ramp over the first steps.

    With a decay of 0 there is no average: `model` is then the trained network itself, not a copy.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False) if decay else model
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards `model`. Early steps move further, so that the initial weights are soon forgotten."""
        if not self.decay:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        source = _tensors(model)
        averages, values = [], []
        for name, value in _tensors(self.model).items():
            if value.dtype.is_floating_point:
                averages.append(value)
                values.append(source[name])
            else:
                value.copy_(source[name])
        torch._foreach_lerp_(averages, values, 1 - decay)  # a GPU takes hundreds of tensors in a few launches


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Each tensor once: a state dict names those of a shared trunk (`model.share_trunk`) twice."""
    return {name: value.detach() for name, value in (*model.named_parameters(), *model.named_buffers())}
