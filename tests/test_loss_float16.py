"""float16 ends at 65,504: a sum over many rows may pass it before it is divided by their number.

No `GradScaler` helps against that: it scales what comes after.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import fastft
from tests.losses import relative

GPU = "cuda" if torch.cuda.is_available() else "cpu"
PLACES = {"rust": "cpu", "triton": GPU}
COARSE = 2e-3
"""Four units in the last place of float16."""


@pytest.mark.parametrize("scale", [0.25, 16.0])
@pytest.mark.parametrize("chunk_tokens", [None, 16])
@pytest.mark.parametrize("backend", PLACES)
def test_sums_beyond_float16(backend: str, chunk_tokens: int | None, scale: float) -> None:
    hidden = torch.full((60, 4), 2000.0)
    weight, bias = torch.zeros(8, 4), torch.zeros(8)
    labels = torch.zeros(60, dtype=torch.int64)
    leaves = [one.half().to(PLACES[backend]).requires_grad_() for one in (hidden, weight, bias)]
    loss = fastft.linear_cross_entropy(
        *(leaves[0], leaves[1], labels.to(PLACES[backend])),
        bias=leaves[2],
        chunk_tokens=chunk_tokens,
        backend=backend,
    )
    exact = [one.double().requires_grad_() for one in (hidden, weight, bias)]
    (F.cross_entropy(F.linear(*exact), labels) * scale).backward()
    (loss * scale).backward()
    for one, right in zip(leaves, exact, strict=True):
        assert one.grad is not None and right.grad is not None and one.grad.dtype == torch.float16
        assert relative(one.grad.cpu(), right.grad) < COARSE


@pytest.mark.parametrize("function", ["linear", "in place"])
@pytest.mark.parametrize("backend", PLACES)
def test_weights_beyond_float16(backend: str, function: str) -> None:
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(40, 4, generator=generator)
    weight = torch.randn(9, 4, generator=generator)
    labels = torch.randint(9, (40,), generator=generator)
    weights = torch.full((9,), 1e5)
    device = PLACES[backend]
    leaves = [one.half().to(device).requires_grad_() for one in (hidden, weight)]
    options = {"class_weight": weights.to(device), "backend": backend}
    if function == "linear":
        loss = fastft.linear_cross_entropy(*leaves, labels.to(device), **options)
    else:
        loss = fastft.cross_entropy(F.linear(*leaves), labels.to(device), inplace=True, **options)
    exact = [one.detach().cpu().double().requires_grad_() for one in leaves]
    right = F.cross_entropy(F.linear(*exact), labels, weight=weights.double())
    assert relative(loss.detach().cpu(), right.detach()) < COARSE
    loss.backward()
    right.backward()
    for one, other in zip(leaves, exact, strict=True):
        assert one.grad is not None and other.grad is not None
        assert relative(one.grad.cpu(), other.grad) < 4 * COARSE


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("backend", PLACES)
def test_a_class_that_never_occurs_decides_nothing(backend: str, inplace: bool) -> None:
    """Its weight may be infinite, as by inverse frequency, and is then the largest of all."""
    logits = torch.randn(20, 9, generator=torch.Generator().manual_seed(7)).half()
    leaf = logits.to(PLACES[backend]).requires_grad_()
    labels = torch.arange(20) % 8 + 1
    weights = torch.ones(9)
    weights[0] = float("inf")
    options = {"class_weight": weights.to(leaf.device), "backend": backend, "inplace": inplace}
    loss = fastft.cross_entropy(leaf * 1, labels.to(leaf.device), **options)
    exact = logits.double().requires_grad_()
    right = F.cross_entropy(exact, labels)
    assert relative(loss.detach().cpu(), right.detach()) < 1e-5
    (found,) = torch.autograd.grad(loss, leaf)
    assert relative(found.cpu(), torch.autograd.grad(right, exact)[0]) < COARSE


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("backend", PLACES)
def test_a_bias_alone_gets_its_gradient(backend: str, reduction: str) -> None:
    generator = torch.Generator().manual_seed(5)
    hidden, weight, bias = (
        torch.randn(*shape, generator=generator).half().to(PLACES[backend])
        for shape in ((30, 4), (9, 4), (9,))
    )
    labels = torch.zeros(30, dtype=torch.int64, device=hidden.device)
    bias.requires_grad_()
    loss = fastft.linear_cross_entropy(
        hidden, weight, labels, bias=bias, backend=backend, reduction=reduction
    )
    (found,) = torch.autograd.grad(loss.mean(), bias)
    leaf = bias.detach().double().requires_grad_()
    exact = F.cross_entropy(F.linear(hidden.double(), weight.double(), leaf), labels)
    assert found.dtype == torch.float16
    assert relative(found.cpu(), torch.autograd.grad(exact, leaf)[0].cpu()) < COARSE


@pytest.mark.parametrize("backend", PLACES)
def test_small_probabilities_are_kept(backend: str) -> None:
    """What is divided at once by the number of rows is lost below 6e-8."""
    hidden = torch.ones(40, 1).half().to(PLACES[backend])
    weight = torch.zeros(3000, 1).half().to(PLACES[backend]).requires_grad_()
    labels = torch.zeros(40, dtype=torch.int64, device=hidden.device)
    loss = fastft.linear_cross_entropy(
        hidden, weight, labels, backend=backend, denominator=40 * 2**10
    )
    (found,) = torch.autograd.grad(loss * 2.0**20, weight)
    exact = torch.full((2999, 1), 2.0**10 / 3000)
    assert relative(found[1:].cpu(), exact) < COARSE
