"""Which weights of attention without padding are dropped: as often as asked, independently."""

from __future__ import annotations

import math

import pytest
import torch

from fastft.modeling.padding_free.weighted import drawn


@pytest.mark.parametrize("dropout", [0.1, 0.5, 1 - 1e-4, 1e-4, 1e-9, 1.0])
def test_weights_are_dropped_as_often_as_asked_and_their_mean_stays(dropout: float) -> None:
    torch.manual_seed(3)
    number = 1_000_003  # the last draw decides on fewer than four
    kept = drawn(torch.ones(number), dropout)
    is_dropped = kept == 0
    for lane in (slice(None), *(slice(start, None, 4) for start in range(4))):
        count = len(is_dropped[lane])
        spread = 3.5 * math.sqrt(dropout * (1 - dropout) / count) + 1e-5
        assert abs(is_dropped[lane].double().mean().item() - dropout) <= spread
    assert kept[~is_dropped].unique().numel() <= 1
    if dropout <= 0.5:
        spread = 3.5 * math.sqrt(dropout / (1 - dropout) / number)
        assert abs(kept.double().mean().item() - 1) <= spread
    neighbours = (is_dropped[:-1] & is_dropped[1:]).double().mean().item()
    assert abs(neighbours - dropout**2) <= 3.5 * math.sqrt(dropout**2 / number) + 2e-5


def test_a_seed_gives_the_same_draws_and_they_do_not_repeat() -> None:
    def draw() -> torch.Tensor:
        return drawn(torch.ones(5, 7, 9), 0.4)

    torch.manual_seed(5)
    first, second = draw(), draw()
    torch.manual_seed(5)
    assert torch.equal(first, draw())
    assert not torch.equal(first, second)
