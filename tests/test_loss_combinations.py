"""Options of the losses together, as the tests of Liger combine them, against float64.

`test_loss_linear.py` and `test_loss_cross_entropy.py` look at one option after the other; what goes
wrong in fused losses is two of them at once: a weight of a class and a label that does not count,
a gradient of each row and a smoothed label.
"""

from __future__ import annotations

from itertools import combinations, product
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F

import fastft
from tests.losses import Problem, exact_loss, gradients, problem, relative


class Mix(NamedTuple):
    """One way to set every option."""

    ignore_index: int
    label_smoothing: float
    softcap: float | None
    z_loss: float
    weighted: bool
    reduction: str
    bias: bool
    strided: bool


CHOICES = (
    (-100, -1, 0, 5, 10**6),
    (0.0, 0.1),
    (None, 4.0),
    (0.0, 0.01),
    (False, True),
    ("mean", "sum", "none"),
    (False, True),
    (False, True),
)
ALL = [Mix(*values) for values in product(*CHOICES)]
FEW = ALL[::17]
SHAPES = ((9, 7, 41), (1, 3, 17), (24, 5, 2), (13, 1, 129), (33, 8, 64))
"""Rows, width and classes."""
TOLERANCE = {torch.float32: 3e-6, torch.bfloat16: 2e-2, torch.float16: 3e-3}
"""Of gradients; those of the logits are rounded to the type once."""
EACH_WAY = pytest.mark.parametrize("backend", ["rust", "torch"])
EACH_TYPE = pytest.mark.parametrize("dtype", list(TOLERANCE))


def case_of(mix: Mix, number: int, dtype: torch.dtype) -> Problem:
    """A problem in which every third label is ignored; a few times all of them are."""
    num_rows, width, num_classes = SHAPES[number % len(SHAPES)]
    case = problem(num_rows, width, num_classes, seed=number, bias=mix.bias, ignored=0, dtype=dtype)
    if number % 11 == 0:
        case.labels[:] = mix.ignore_index
    case.labels[number % 3 :: 3] = mix.ignore_index
    return case


def options_of(mix: Mix, num_classes: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(3)
    weights = torch.rand(num_classes, generator=generator) + 0.1 if mix.weighted else None
    return {
        "ignore_index": mix.ignore_index,
        "label_smoothing": mix.label_smoothing,
        "softcap": mix.softcap,
        "z_loss": mix.z_loss,
        "class_weight": weights,
        "reduction": mix.reduction,
    }


def laid_out(tensor: torch.Tensor, strided: bool) -> torch.Tensor:
    """The same values, with others between the columns."""
    return torch.stack([tensor, -tensor], -1)[..., 0] if strided else tensor


def upstream(loss: torch.Tensor) -> torch.Tensor:
    """A gradient of the loss that is neither one nor the same for each row."""
    return torch.linspace(-1.5, 2.5, loss.numel(), dtype=loss.dtype).reshape(loss.shape)


def compare(found: Any, exact: Any, mix: Mix, dtype: torch.dtype) -> None:
    """Loss and leaves of both; of nothing the mean is 0 here and undefined in torch."""
    (loss, leaves), (right, exact_leaves) = found, exact
    assert loss.dtype == torch.float32, mix
    slopes = torch.autograd.grad(loss, leaves, upstream(loss))
    if right.isnan().any():
        assert mix.reduction == "mean"
        assert not loss.detach().any(), mix
        assert not any(one.any() for one in slopes), mix
        return
    assert relative(loss.detach(), right.detach()) < (1e-6 if dtype == torch.float32 else 1e-5), mix
    wanted = torch.autograd.grad(right, exact_leaves, upstream(right))
    # The gradient of a bias may sum up to all but nothing; its terms are as large as the others.
    size = max(float(true.abs().max()) for true in wanted)
    for one, true in zip(slopes, wanted, strict=True):
        assert one.dtype == dtype, mix
        assert float((one.double() - true).abs().max()) <= TOLERANCE[dtype] * size, mix


def check_linear(mixes: list[Mix], dtype: torch.dtype, backend: str) -> None:
    for number, mix in enumerate(mixes):
        case = case_of(mix, number, dtype)
        options = options_of(mix, len(case.weight))
        leaves, exact = case.leaves(), case.leaves(torch.float64)
        bias = leaves[2] if mix.bias else None
        layer = [laid_out(one, mix.strided) for one in leaves[:2]]
        loss = fastft.linear_cross_entropy(
            *(layer[0], layer[1], case.labels),
            bias=bias,
            chunk_tokens=4 + number % 9,
            backend=backend,
            **options,
        )
        logits = F.linear(*exact)
        if dtype != torch.float32:
            # The head rounds its logits; what the loss makes of them has to be exact.
            rounded = F.linear(*(one.detach() for one in leaves)).double()
            logits = logits + (rounded - logits).detach()
        right = exact_loss(logits, case.labels, **options)
        compare((loss, leaves), (right, exact), mix, dtype)


def check_logits(mixes: list[Mix], dtype: torch.dtype, backend: str, *, inplace: bool) -> None:
    for number, mix in enumerate(mixes):
        case = case_of(mix, number, torch.float32)
        leaf = F.linear(case.hidden, case.weight, case.bias).to(dtype).requires_grad_()
        options = options_of(mix, len(case.weight))
        made = leaf * 1 if inplace else laid_out(leaf, mix.strided)
        loss = fastft.cross_entropy(made, case.labels, backend=backend, inplace=inplace, **options)
        exact = leaf.detach().double().requires_grad_()
        right = exact_loss(exact, case.labels, **options)
        compare((loss, [leaf]), (right, [exact]), mix, dtype)


@EACH_TYPE
@EACH_WAY
def test_options_of_a_linear_layer_together(backend: str, dtype: torch.dtype) -> None:
    check_linear(FEW, dtype, backend)


@pytest.mark.slow
@EACH_TYPE
@EACH_WAY
def test_all_options_of_a_linear_layer_together(backend: str, dtype: torch.dtype) -> None:
    check_linear(ALL, dtype, backend)


@pytest.mark.parametrize("way", ["rust", "torch", "in place"])
@EACH_TYPE
def test_options_of_logits_together(way: str, dtype: torch.dtype) -> None:
    inplace = way == "in place"
    check_logits(FEW, dtype, "rust" if inplace else way, inplace=inplace)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["rust", "torch", "in place"])
@EACH_TYPE
def test_all_options_of_logits_together(way: str, dtype: torch.dtype) -> None:
    inplace = way == "in place"
    check_logits(ALL, dtype, "rust" if inplace else way, inplace=inplace)


def test_the_few_combinations_hold_every_pair() -> None:
    for first, second in combinations(range(len(CHOICES)), 2):
        found = {(mix[first], mix[second]) for mix in FEW}
        assert found == set(product(CHOICES[first], CHOICES[second]))


@EACH_TYPE
@EACH_WAY
def test_forward_alone_gives_the_loss_of_training(backend: str, dtype: torch.dtype) -> None:
    module = fastft.LinearCrossEntropy(backend=backend)
    for number, mix in enumerate(FEW):
        case = case_of(mix, number, dtype)
        options = options_of(mix, len(case.weight))
        leaves = case.leaves()
        trained = module(*leaves[:2], case.labels, bias=leaves[2] if mix.bias else None, **options)
        with torch.no_grad():
            alone = module(case.hidden, case.weight, case.labels, bias=case.bias, **options)
        assert torch.equal(alone, trained.detach()), mix
        assert not alone.requires_grad


@EACH_WAY
def test_losses_of_one_head_add_up(backend: str) -> None:
    """Two heads on one hidden state, one of them twice, as for several tokens at a time."""
    case, other = problem(30, 6, 40), problem(30, 6, 40, seed=1)
    leaves, exact = case.leaves(), case.leaves(torch.float64)
    total: Any = 0
    right: Any = 0
    for factor, labels in ((0.5, case.labels), (-2.0, other.labels), (3.0, case.labels.flip(0))):
        loss = fastft.linear_cross_entropy(leaves[0].tanh(), leaves[1], labels, backend=backend)
        total = total + factor * loss
        right = right + factor * exact_loss(F.linear(exact[0].tanh(), exact[1]), labels)
    assert relative(total.detach(), right.detach()) < 1e-6
    for one, true in zip(gradients(total, leaves), gradients(right, exact), strict=True):
        assert relative(one, true) < 2e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("inplace", [False, True])
def test_sure_predictions_keep_the_gradient_of_their_label(
    inplace: bool, smoothing: float, dtype: torch.dtype
) -> None:
    """`softmax - 1` of a label that is all but certain is rounded after it was taken."""
    case = problem(64, 8, 1000, ignored=0)
    logits = F.linear(case.hidden, case.weight)
    rows = torch.arange(64)
    logits[rows, case.labels] = logits.amax(-1) + 10
    leaf = logits.to(dtype).requires_grad_()
    exact = leaf.detach().double().requires_grad_()
    loss = fastft.cross_entropy(
        leaf * 1, case.labels, label_smoothing=smoothing, inplace=inplace, reduction="sum",
        backend="rust",
    )  # fmt: skip
    right = exact_loss(exact, case.labels, label_smoothing=smoothing, reduction="sum")
    (found,), (wanted,) = gradients(loss, [leaf]), gradients(right, [exact])
    error = (found.double() - wanted)[rows, case.labels].abs()
    step = wanted[rows, case.labels].abs() * torch.finfo(dtype).eps
    assert (error <= step * 0.51 + 1e-7).all()


@EACH_WAY
def test_large_logits_with_every_option(backend: str) -> None:
    for number, mix in enumerate(FEW):
        case = case_of(mix, number, torch.float32)
        options = options_of(mix, len(case.weight))
        logits = (F.linear(case.hidden, case.weight, case.bias) * 300 + 1e4).requires_grad_()
        exact = logits.detach().double().requires_grad_()
        loss = fastft.cross_entropy(logits, case.labels, backend=backend, **options)
        right = exact_loss(exact, case.labels, **options)
        if right.isnan().any():
            continue
        assert relative(loss.detach(), right.detach()) < 1e-6, mix
        (found,) = torch.autograd.grad(loss, [logits], upstream(loss))
        (wanted,) = torch.autograd.grad(right, [exact], upstream(right))
        # A cap of 4 makes all of them equal; what is left of a slope is below any number.
        assert float((found - wanted).abs().max()) <= 2e-6 * max(float(wanted.abs().max()), 1), mix
