"""Lazy logits whose classes are moved to the second axis, where `F.cross_entropy` wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F

from tests.test_fuse_head_lazy import (
    ROWS,
    VOCABULARY,
    WIDTH,
    assert_same,
    both,
    heads,
    hidden,
    target,
)
from tests.test_lazy_layout import lies

if TYPE_CHECKING:
    from collections.abc import Callable

MOVES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "transpose": lambda x: x.transpose(1, 2),
    "transpose from behind": lambda x: torch.transpose(x, -1, -2),
    "permute": lambda x: x.permute(0, 2, 1),
    "permute of torch": lambda x: torch.permute(x, (0, -1, 1)),
    "movedim": lambda x: x.movedim(-1, 1),
    "swapaxes": lambda x: x.swapaxes(2, 1),
    "in order": lambda x: x.transpose(1, 2).contiguous(),
    "shifted": lambda x: x[:, 1:].permute(0, 2, 1),
    "scaled": lambda x: (x * 0.5).transpose(1, 2),
    "swapdims": lambda x: torch.swapdims(x, 1, 2),
    "moveaxis": lambda x: torch.moveaxis(x, -1, 1),
    "mT": lambda x: x.mT,
    "cast": lambda x: x.transpose(1, 2).float().to(torch.float32),
    "scaled behind it": lambda x: 2 * (x.transpose(1, 2) / 4.0).clone(),
    "capped behind it": lambda x: torch.tanh(x.transpose(1, 2) / 3.0) * 3.0,
    "two axes of rows": lambda x: x[:, :, None].movedim(-1, 1),
}


def loss_of(x: torch.Tensor, **options: Any) -> torch.Tensor:
    labels = target((x.shape[0], *x.shape[2:]))
    labels = labels.where(labels >= 0, options.get("ignore_index", -100))
    return F.cross_entropy(x, labels, **options)


@pytest.mark.parametrize("name", MOVES)
def test_runs_fused(name: str) -> None:
    expected, found, head = both(lambda x: loss_of(MOVES[name](x)))
    assert_same(expected, found)
    assert head.record.fused == 1 and not head.record.materialised


@pytest.mark.parametrize("name", MOVES)
def test_lies_as_the_true_logits_would(name: str) -> None:
    plain, fused = heads()
    found, expected = MOVES[name](fused(hidden())), MOVES[name](plain(hidden()))
    assert found.shape == expected.shape and lies(found) == lies(expected)
    assert not fused.record.materialised
    assert torch.equal(found, expected)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_options_of_cross_entropy(reduction: str, smoothing: float, weighted: bool) -> None:
    weight = torch.linspace(0.5, 2, VOCABULARY) if weighted else None
    options: dict[str, Any] = {"weight": weight, "reduction": reduction, "ignore_index": 3}

    def run(x: torch.Tensor) -> torch.Tensor:
        loss = loss_of(x.transpose(1, 2), label_smoothing=smoothing, **options)
        return (loss * torch.linspace(1, 2, loss.numel()).view(loss.shape)).sum()

    expected, found, head = both(run)
    assert_same(expected, found)
    assert head.record.fused == 1 and not head.record.materialised


OTHERS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "softmax": lambda x: x.transpose(1, 2).softmax(1).square().sum(),
    "log_softmax": lambda x: x.transpose(1, 2).log_softmax(1)[:, 0].sum(),
    "soft labels": lambda x: F.cross_entropy(
        x.transpose(1, 2), torch.full((ROWS, VOCABULARY, WIDTH), 1 / VOCABULARY)
    ),
    "and back": lambda x: x.transpose(1, 2).transpose(1, 2).square().sum(),
    "shifted behind it": lambda x: x.transpose(1, 2)[..., 1:].exp().mean(),
    "bias behind it": lambda x: (x.mT + torch.ones(WIDTH)).square().mean(),
    "capped twice": lambda x: loss_of(x.mT.tanh().tanh()),
    "another order": lambda x: x.permute(2, 0, 1).square().mean(),
    "first axis": lambda x: x.transpose(0, 2).square().mean(),
    "written to": lambda x: loss_of(x.transpose(1, 2).mul_(0.5)) + x.sum() * 0.1,
    "looked at before": lambda x: x.sum() * 0.1 + loss_of(x.transpose(1, 2)),
    "looked at after": lambda x: loss_of(x.transpose(1, 2)) + x.transpose(1, 2).sum() * 0.1,
}


@pytest.mark.parametrize("name", OTHERS)
def test_all_else_makes_the_true_logits(name: str) -> None:
    expected, found, head = both(OTHERS[name])
    assert_same(expected, found)
    assert sum(head.record.materialised.values()) == 1


def test_errors_of_torch_stay_errors() -> None:
    for head in heads():
        logits = head(hidden())
        with pytest.raises((RuntimeError, IndexError, TypeError)):
            logits.transpose(1, 3)
        with pytest.raises((RuntimeError, IndexError, TypeError)):
            logits.permute(0, 1)
        with pytest.raises((RuntimeError, ValueError)):
            F.cross_entropy(logits.transpose(1, 2), target((ROWS, WIDTH + 1)))
        with pytest.raises(TypeError):
            F.cross_entropy(logits.transpose(1, 2), target((ROWS, WIDTH)), nothing=1)


def test_a_batch_of_no_rows() -> None:
    for head in heads():
        logits = head(hidden()[:0]).transpose(1, 2)
        loss = F.cross_entropy(logits, target((0, WIDTH)), reduction="sum")
        assert loss.item() == 0
