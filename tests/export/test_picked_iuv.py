"""IUV with U and V interpolated for the chosen part alone, against `iuv_answer`, which interpolates them all."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch.nn import functional as F

from export.picked_iuv import PickedIuv, _around
from training.model.answers import iuv_answer, iuv_scores
from training.model.branch import DensePoseHead


@pytest.mark.parametrize("background", ["either", "coarse"])
@pytest.mark.parametrize("coarse", [15, 2])
def test_as_the_network_answers(background: Literal["either", "coarse"], coarse: int) -> None:
    torch.manual_seed(coarse)
    head = DensePoseHead(8, coarse).eval()
    torch.nn.init.normal_(head.up.deconv.weight, std=0.2)
    torch.nn.init.normal_(head.up.deconv.bias, std=0.2)
    features = torch.randn(3, 8, 6, 6)
    with torch.no_grad():
        expected = iuv_answer(*head(features), background)
        sure = iuv_scores(*head(features, half=True)[:2], background)
        found, scores = PickedIuv(head, background)(features)
    torch.testing.assert_close(scores, sure, atol=1e-5, rtol=1e-5)
    assert (scores > 0).sum() > 20
    assert found.shape == expected.shape == (3, 3, 24, 24)
    torch.testing.assert_close(found[:, 0], expected[:, 0], atol=0, rtol=0)
    assert len(expected[:, 0].unique()) > 20
    assert len(expected[:, 1].unique()) > 50
    assert (expected[:, 0] == 0).any()
    away = (found.int() - expected.int()).abs()
    assert away.max() <= 1  # U and V are cut to 8 bits: another order of a sum may fall to the other side
    assert (away > 0).float().mean() < 1e-3


def test_places_and_shares_by_hand() -> None:
    """Two cells a side: the pixels' middles lie at -1/4, 1/4, 3/4 and 5/4 of a cell from the first one's middle."""
    cells, shares = _around(2)
    assert cells.shape == shares.shape == (4, 16)
    assert cells[:, 6].tolist() == [0, 1, 2, 3]  # row 1, column 2
    assert shares[:, 6].tolist() == [0.75 * 0.25, 0.75 * 0.75, 0.25 * 0.25, 0.25 * 0.75]
    assert (shares[:, 0] * torch.tensor([5.0, 7, 11, 13])[cells[:, 0]]).sum() == 5  # beside the first: the first
    assert (shares[:, 15] * torch.tensor([5.0, 7, 11, 13])[cells[:, 15]]).sum() == 13
    cells, shares = _around(5)
    values = torch.rand(1, 1, 5, 5)
    expected = F.interpolate(values, scale_factor=2.0, mode="bilinear", align_corners=False)
    torch.testing.assert_close((values.flatten()[cells] * shares).sum(0), expected.flatten())
