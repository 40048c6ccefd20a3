"""The fused losses of others, asked for by name."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import fastft
from fastft.modeling.losses import peer_losses
from tests.losses import gradients, options_for, problem, relative


@pytest.mark.parametrize("name", ["plain", "sum", "none", "denominator", "class weight"])
@pytest.mark.parametrize("chunk_tokens", [None, 16])
def test_the_fused_loss_of_torch_can_be_asked_for(name: str, chunk_tokens: int | None) -> None:
    if not hasattr(torch.nn, "LinearCrossEntropyOptions"):
        pytest.skip("this torch has no fused loss")
    case = problem(60, 8, 50, bias=True)
    options = options_for(name, 60, 50)
    results = []
    for backend in ("torch_fused", "torch"):
        leaves = case.leaves()
        loss = fastft.linear_cross_entropy(
            *(leaves[0], leaves[1], case.labels),
            bias=leaves[2],
            backend=backend,
            chunk_tokens=chunk_tokens,
            **options,
        )
        assert loss.dtype == torch.float32
        results.append((loss.detach(), *gradients(loss.sum(), leaves)))
    for one, right in zip(*results, strict=True):
        assert relative(one, right) < 3e-6


@pytest.mark.parametrize("backend", ["torch_fused", "quack"])
@pytest.mark.parametrize(
    ("name", "value"), [("z_loss", 0.1), ("softcap", 3.0), ("label_smoothing", 0.1)]
)
def test_others_are_not_asked_for_what_they_lack(backend: str, name: str, value: float) -> None:
    case = problem(6, 4, 11)
    with pytest.raises(fastft.ConfigurationError) as caught:
        fastft.linear_cross_entropy(*case.leaves(), case.labels, backend=backend, **{name: value})
    assert caught.value.place == name


def test_quack_is_called_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    case = problem(9, 4, 11)
    leaves = case.leaves()
    monkeypatch.setitem(sys.modules, peer_losses.QUACK, None)
    with pytest.raises(fastft.ConfigurationError, match="pip install quack-kernels"):
        fastft.linear_cross_entropy(*leaves, case.labels, backend="quack")
    module = ModuleType(peer_losses.QUACK)

    def loss(hidden: Any, weight: Any, labels: Any, **options: Any) -> Any:
        assert options.pop("chunk_size") == 4096
        if len(weight) % 11:
            raise AssertionError("no such size")
        return F.cross_entropy(hidden @ weight.t(), labels, **options)

    module.chunked_linear_cross_entropy = loss
    monkeypatch.setitem(sys.modules, peer_losses.QUACK, module)
    with pytest.raises(fastft.ConfigurationError, match="on a GPU"):
        fastft.linear_cross_entropy(*leaves, case.labels, backend="quack")
    monkeypatch.setattr(peer_losses, "_is_for_quack", lambda hidden: True)
    found = fastft.linear_cross_entropy(*leaves, case.labels, backend="quack")
    assert torch.allclose(found, F.cross_entropy(F.linear(*leaves), case.labels))
    with pytest.raises(fastft.ConfigurationError, match="no such size"):
        fastft.linear_cross_entropy(leaves[0], leaves[1][:7], case.labels % 7, backend="quack")
    with pytest.raises(fastft.ConfigurationError, match="one of auto"):
        fastft.cross_entropy(leaves[0], case.labels, backend="quack")
