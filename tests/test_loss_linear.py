"""`fastft.linear_cross_entropy` against the formula in float64 and against torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import fastft
from tests.losses import (
    OPTIONS,
    Anew,
    both,
    exact_loss,
    gradients,
    options_for,
    problem,
    relative,
)

RUST = {"backend": "rust"}


@pytest.mark.floor
@pytest.mark.parametrize("backend", ["rust", "torch"])
@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_gives_what_the_formula_gives(name: str, backend: str) -> None:
    case = problem(60, 8, 50, bias=True)
    options = options_for(name, 60, 50)
    found, exact = both(case, backend=backend, chunk_tokens=16, **options)
    assert found[0].dtype == torch.float32
    for one, right in zip(found, exact, strict=True):
        assert relative(one, right) < 2e-6


@pytest.mark.parametrize("name", OPTIONS)
def test_gradcheck_of_the_function_itself(name: str) -> None:
    case = problem(7, 3, 5, bias=True, dtype=torch.float64)
    options = options_for(name, 7, 5)

    def loss(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> Any:
        return fastft.linear_cross_entropy(
            hidden, weight, case.labels, bias=bias, chunk_tokens=2, **RUST, **options
        )

    assert torch.autograd.gradcheck(
        lambda *leaves: Anew.apply(loss, *leaves), case.leaves(), atol=1e-7
    )


@pytest.mark.parametrize("frozen", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2)])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_frozen_parts_get_no_gradient(frozen: tuple[int, ...], reduction: str) -> None:
    case = problem(40, 6, 30, bias=True)
    full, leaves = case.leaves(), case.leaves()
    for part in frozen:
        leaves[part].requires_grad_(False)
    for hidden, weight, bias in (full, leaves):
        loss = fastft.linear_cross_entropy(
            hidden, weight, case.labels, bias=bias, reduction=reduction, **RUST
        )
        loss.sum().backward()
    for part in range(3):
        if part in frozen:
            assert leaves[part].grad is None
        else:
            assert torch.equal(leaves[part].grad, full[part].grad)


@pytest.mark.parametrize("num_classes", [1, 2, 3, 17, 129, 1000, 50257])
@pytest.mark.parametrize("scale", [1, 20, 300])
def test_vocabularies_and_scales_in_float32(num_classes: int, scale: float) -> None:
    case = problem(24, 4, num_classes, scale=scale)
    # Whole numbers of few bits: the logits are exact, what is left is the loss.
    case.hidden, case.weight = case.hidden.round(), (case.weight * 4).round() / 4
    found, exact = both(case)
    assert abs(float(found[0] - exact[0])) <= 1e-6 * float(exact[0])
    # And what the product of exact slopes is off by: some libraries sum all classes one by one.
    logits = F.linear(case.hidden, case.weight).double().requires_grad_()
    (slopes,) = gradients(exact_loss(logits, case.labels) / 2, [logits])
    off = slopes.float() @ case.weight - exact[1]
    for one, right, rounding in zip(found[1:], exact[1:], [2 * off.abs().max(), 0], strict=True):
        bound = 1e-6 * max(float(right.abs().max()), 1e-3) + float(rounding)
        assert float((one - right).abs().max()) <= bound


@settings(max_examples=60)
@given(
    num_rows=st.integers(0, 40),
    width=st.integers(1, 9),
    num_classes=st.integers(1, 70),
    ignored=st.integers(0, 5),
    name=st.sampled_from(sorted(OPTIONS)),
    strided=st.booleans(),
    chunk_tokens=st.integers(1, 50),
    seed=st.integers(0, 10**6),
)
def test_any_problem(
    num_rows: int,
    width: int,
    num_classes: int,
    ignored: int,
    name: str,
    strided: bool,
    chunk_tokens: int,
    seed: int,
) -> None:
    case = problem(num_rows, width, num_classes, seed=seed, ignored=ignored, bias=seed % 2 == 0)
    if strided:
        case.hidden = torch.stack([case.hidden, -case.hidden], 1)[:, 0]
        case.weight = case.weight.t().contiguous().t()
    options = options_for(name, num_rows, num_classes)
    found, exact = both(case, chunk_tokens=chunk_tokens, **options)
    for one, right in zip(found, exact, strict=True):
        if right.isnan().any():
            # No label counts: the mean of nothing is 0 here.
            assert not (case.labels != -100).any()
            assert not one.any()
        else:
            assert float((one - right).abs().sum()) < 1e-5 * (1 + float(right.abs().sum()))


@pytest.mark.parametrize("name", ["plain", "label smoothing", "class weight", "sum"])
def test_parity_with_torch(name: str) -> None:
    if not hasattr(F, "linear_cross_entropy"):
        pytest.skip("this torch has no linear_cross_entropy")
    case = problem(500, 16, 400, bias=True)
    options = options_for(name, 500, 400)
    leaves, theirs = case.leaves(), case.leaves()
    loss = fastft.linear_cross_entropy(*leaves[:2], case.labels, bias=leaves[2], **RUST, **options)
    options["weight"] = options.pop("class_weight", None)
    right = F.linear_cross_entropy(*theirs[:2], case.labels, linear_bias=theirs[2], **options)
    assert relative(loss.detach(), right.detach()) < 1e-6
    for one, other in zip(gradients(loss, leaves), gradients(right, theirs), strict=True):
        assert relative(one, other) < 3e-6


@pytest.mark.parametrize("backend", ["rust", "torch", "auto"])
def test_no_label_counts(backend: str) -> None:
    case = problem(9, 4, 11)
    case.labels[:] = -100
    for reduction in ("mean", "sum", "none"):
        leaves = case.leaves()
        loss = fastft.linear_cross_entropy(
            *leaves, case.labels, reduction=reduction, backend=backend
        )
        assert loss.shape == ((9,) if reduction == "none" else ())
        assert not loss.detach().any()
        assert not any(gradient.any() for gradient in gradients(loss.sum(), leaves))


@pytest.mark.parametrize("backend", ["rust", "torch", "auto"])
def test_no_rows(backend: str) -> None:
    hidden, weight = torch.zeros(0, 4, requires_grad=True), torch.ones(5, 4, requires_grad=True)
    labels = torch.zeros(0, dtype=torch.int64)
    loss = fastft.linear_cross_entropy(hidden, weight, labels, backend=backend)
    loss.backward()
    assert float(loss.detach()) == 0
    assert hidden.grad.shape == (0, 4)
    assert not weight.grad.any()


@pytest.mark.parametrize("backend", ["rust", "torch"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_infinite_and_undefined_values_are_as_in_torch(value: float, backend: str) -> None:
    case = problem(6, 3, 40, ignored=0)
    case.hidden[2, 1] = value
    leaves, theirs = case.leaves(), case.leaves()
    loss = fastft.linear_cross_entropy(*leaves, case.labels, reduction="none", backend=backend)
    right = F.cross_entropy(F.linear(*theirs), case.labels, reduction="none")
    assert torch.equal(loss.isnan(), right.isnan())
    found, exact = gradients(loss.sum(), leaves)[0], gradients(right.sum(), theirs)[0]
    assert torch.equal(found.isnan(), exact.isnan())
    assert torch.allclose(found[3:], exact[3:], atol=1e-6)


@pytest.mark.parametrize("backend", ["rust", "torch"])
@pytest.mark.parametrize("name", ["plain", "none", "token weight", "denominator"])
def test_shift_is_the_loss_of_the_next_token(name: str, backend: str) -> None:
    case = problem(30, 5, 40)
    hidden, labels = case.hidden.reshape(3, 10, 5), case.labels.reshape(3, 10)
    options = options_for(name, 30, 40)
    weights = options.pop("token_weight", None)
    moved = None if weights is None else weights.reshape(3, 10)[:, 1:]
    found = fastft.linear_cross_entropy(
        *(hidden, case.weight, labels),
        shift=True,
        token_weight=None if weights is None else weights.reshape(3, 10),
        backend=backend,
        **options,
    )
    right = fastft.linear_cross_entropy(
        *(hidden[:, :-1], case.weight, labels[:, 1:]),
        token_weight=moved,
        backend=backend,
        **options,
    )
    if name == "none":
        assert not found[:, -1].any()
        found = found[:, :-1]
    assert torch.allclose(found, right, rtol=1e-6)


@pytest.mark.parametrize("backend", ["rust", "torch"])
def test_an_index_names_the_rows_that_count(backend: str) -> None:
    case = problem(40, 6, 30, bias=True)
    kept = (case.labels != -100).nonzero().squeeze(1)
    whole, chosen = case.leaves(), case.leaves()
    loss = fastft.linear_cross_entropy(*whole[:2], case.labels, bias=whole[2], backend=backend)
    by_index = fastft.linear_cross_entropy(
        *(chosen[0].view(4, 10, 6), chosen[1], case.labels[kept]),
        index=kept,
        bias=chosen[2],
        backend=backend,
    )
    assert torch.equal(loss, by_index)
    for one, right in zip(gradients(by_index, chosen), gradients(loss, whole), strict=True):
        assert torch.equal(one, right)
    each = fastft.linear_cross_entropy(
        *(case.hidden, case.weight, case.labels[kept].int()),
        index=kept,
        reduction="none",
        backend=backend,
    )
    assert each.shape == kept.shape


def test_labels_of_an_index_may_be_ignored() -> None:
    case = problem(10, 3, 6, ignored=0)
    index, labels = torch.tensor([7, 2, 5]), torch.tensor([1, -100, 3])
    found = fastft.linear_cross_entropy(
        case.hidden, case.weight, labels, index=index, reduction="none", **RUST
    )
    right = F.cross_entropy(F.linear(case.hidden[index], case.weight), labels, reduction="none")
    assert torch.allclose(found, right)


@pytest.mark.parametrize("backend", ["rust", "torch"])
def test_statistics(backend: str) -> None:
    case = problem(50, 6, 20)
    case.weight[3] = case.weight[5]
    loss, stats = fastft.linear_cross_entropy(
        case.hidden, case.weight, case.labels, return_stats=True, backend=backend, chunk_tokens=8
    )
    logits = F.linear(case.hidden, case.weight).double()
    counts = case.labels != -100
    assert torch.allclose(loss.double(), F.cross_entropy(logits, case.labels))
    assert torch.allclose(stats.lse.double(), logits.logsumexp(-1) * counts)
    assert int(stats.n_tokens) == int(counts.sum())
    assert int(stats.n_correct) == int((logits.argmax(-1) == case.labels).sum())
    softmax = logits.softmax(-1)
    entropy = -(softmax * softmax.log()).sum(-1)[counts].sum()
    assert torch.allclose(stats.entropy_sum.double(), entropy, rtol=1e-5)
    assert stats.lse.dtype == stats.entropy_sum.dtype == torch.float32
