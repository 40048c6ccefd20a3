"""`fastft.cross_entropy` of logits that are there, against float64 and torch, at every level."""

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
    exact_loss,
    gradients,
    logits_and_labels,
    options_for,
    relative,
)


def computed(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A leaf, and logits that were made from it and may be overwritten."""
    leaf = logits.clone().requires_grad_()
    return leaf, leaf * 1


@pytest.mark.floor
@pytest.mark.parametrize("way", ["rust", "in place", "torch"])
@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_gives_what_the_formula_gives(name: str, way: str) -> None:
    logits, labels = logits_and_labels(40, 33)
    options = options_for(name, 40, 33)
    leaf, made = computed(logits)
    exact = logits.double().requires_grad_()
    backend = "torch" if way == "torch" else "rust"
    loss = fastft.cross_entropy(made, labels, inplace=way == "in place", backend=backend, **options)
    right = exact_loss(exact, labels, **options)
    mix = torch.linspace(0.5, 1.5, loss.numel()).reshape(loss.shape)
    assert loss.dtype == torch.float32
    assert relative(loss.detach(), right.detach()) < 1e-6
    (found,) = gradients((loss * mix).sum(), [leaf])
    assert relative(found, gradients((right * mix).sum(), [exact])[0]) < 1e-6


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("name", OPTIONS)
def test_gradcheck_of_the_function_itself(name: str, inplace: bool) -> None:
    logits, labels = logits_and_labels(6, 7)
    options = options_for(name, 6, 7)

    def loss(logits: torch.Tensor) -> Any:
        made = logits * 1
        return fastft.cross_entropy(made, labels, inplace=inplace, backend="rust", **options)

    leaf = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda leaf: Anew.apply(loss, leaf), leaf, atol=1e-7)
    if not inplace:
        assert torch.autograd.gradcheck(loss, leaf, atol=1e-7)
        assert torch.autograd.gradgradcheck(loss, leaf, atol=1e-6)


@settings(max_examples=60)
@given(
    num_rows=st.integers(0, 30),
    num_classes=st.integers(1, 100),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    layout=st.sampled_from(["plain", "rows apart", "columns", "repeated"]),
    inplace=st.booleans(),
    name=st.sampled_from(sorted(OPTIONS)),
    scale=st.floats(0.01, 30),
    seed=st.integers(0, 10**6),
)
def test_any_logits(
    num_rows: int,
    num_classes: int,
    dtype: torch.dtype,
    layout: str,
    inplace: bool,
    name: str,
    scale: float,
    seed: int,
) -> None:
    logits, labels = logits_and_labels(num_rows, num_classes, scale=scale, seed=seed)
    logits = laid_out(logits.to(dtype), layout)
    options = options_for(name, num_rows, num_classes)
    leaf = logits.detach().requires_grad_()
    made = laid_out(leaf * 1, layout) if layout != "repeated" else leaf
    inplace = inplace and layout in ("plain", "rows apart")
    loss = fastft.cross_entropy(made, labels, inplace=inplace, backend="rust", **options)
    exact = made.detach() if not inplace else logits
    exact = exact.double().clone().requires_grad_()
    right = exact_loss(exact, labels, **options)
    if right.isnan().any():
        assert not (labels != -100).any()
        assert not loss.detach().any()
        return
    tolerance = {torch.bfloat16: 2e-2, torch.float16: 3e-3}.get(dtype, 2e-5)
    assert torch.allclose(loss.detach().double(), right.detach(), rtol=2e-5, atol=2e-5)
    (found,) = gradients(loss.sum(), [leaf])
    (wanted,) = gradients(right.sum(), [exact])
    assert torch.allclose(found.double(), wanted, rtol=tolerance, atol=tolerance * 1e-1)


def laid_out(logits: torch.Tensor, layout: str) -> torch.Tensor:
    match layout:
        case "rows apart":
            return torch.cat([logits, logits], 1)[:, : logits.shape[1]]
        case "columns":
            return logits.t().contiguous().t()
        case "repeated":
            return logits[:1].expand(logits.shape)
    return logits


@pytest.mark.parametrize("way", ["rust", "in place", "torch", "auto"])
def test_no_label_counts(way: str) -> None:
    logits, _ = logits_and_labels(4, 9)
    leaf, made = computed(logits)
    labels = torch.full((4,), -100)
    backend = "rust" if way == "in place" else way
    loss = fastft.cross_entropy(made, labels, inplace=way == "in place", backend=backend)
    assert loss.item() == 0
    assert not gradients(loss, [leaf])[0].any()


@pytest.mark.parametrize("way", ["rust", "in place", "torch"])
def test_infinite_and_undefined_logits_are_as_in_torch(way: str) -> None:
    logits, labels = logits_and_labels(6, 40)
    labels[0] = 1
    infinity = float("inf")
    logits[0, 3], logits[1, 2], logits[2, 5] = -infinity, float("nan"), infinity
    logits[3] = -1e30
    logits[4, int(labels[4])] = -infinity
    leaf, made = computed(logits)
    backend = "torch" if way == "torch" else "rust"
    loss = fastft.cross_entropy(
        made, labels, reduction="none", inplace=way == "in place", backend=backend
    )
    theirs = logits.clone().requires_grad_()
    right = F.cross_entropy(theirs, labels, reduction="none")
    assert torch.allclose(loss, right, rtol=1e-6, equal_nan=True)
    found, exact = gradients(loss.sum(), [leaf])[0], gradients(right.sum(), [theirs])[0]
    assert torch.allclose(found, exact, atol=3e-7, equal_nan=True)
    assert float(found[0, 3]) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("softcap", [None, 30.0])
@pytest.mark.parametrize("backend", ["rust", "torch"])
def test_log_sum_exp_of_infinite_logits(
    backend: str, softcap: float | None, dtype: torch.dtype
) -> None:
    logits = logits_and_labels(6, 40)[0].to(dtype)
    infinity = float("inf")
    logits[0, 3], logits[1, :2], logits[2] = infinity, infinity, -infinity
    logits[3, 4], logits[3, 5], logits[4, 6] = infinity, float("nan"), -infinity
    _, stats = fastft.cross_entropy(
        logits, torch.zeros(6).long(), softcap=softcap, backend=backend, return_stats=True
    )
    shaped = logits.double() if softcap is None else softcap * (logits.double() / softcap).tanh()
    right = shaped.logsumexp(-1).float()
    assert torch.allclose(stats.lse, right, rtol=1e-6, equal_nan=True)


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("backend", ["rust", "torch"])
def test_sequences(shift: bool, backend: str) -> None:
    logits, labels = logits_and_labels(3, 8, 21)
    leaf = logits.clone().requires_grad_()
    loss, stats = fastft.cross_entropy(
        leaf, labels.int(), shift=shift, backend=backend, return_stats=True
    )
    exact = logits.double().requires_grad_()
    rows = exact[:, :-1] if shift else exact
    of = labels[:, 1:] if shift else labels
    right = F.cross_entropy(rows.reshape(-1, 21), of.reshape(-1))
    assert relative(loss.detach(), right.detach()) < 1e-6
    assert relative(gradients(loss, [leaf])[0], gradients(right, [exact])[0]) < 1e-6
    assert stats.lse.shape == labels.shape
    assert int(stats.n_tokens) == int((of != -100).sum())
    assert int(stats.n_correct) == int((rows.argmax(-1) == of).sum())


def test_in_place_needs_no_memory_of_its_own() -> None:
    leaf, made = computed(logits_and_labels(20, 30)[0])
    labels = torch.arange(20)
    fastft.cross_entropy(made, labels, inplace=True).backward()
    # What were logits is their gradient.
    assert torch.equal(made.detach(), leaf.grad)


def test_in_place_is_noticed_by_whoever_kept_the_logits() -> None:
    leaf = torch.randn(20, 30, requires_grad=True)
    kept = torch.tanh(leaf)
    loss = fastft.cross_entropy(kept, torch.arange(20), inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_graph_may_be_used_twice_unless_in_place() -> None:
    leaf, made = computed(logits_and_labels(20, 30)[0])
    labels = torch.arange(20)
    loss = fastft.cross_entropy(made, labels, backend="rust")
    loss.backward(retain_graph=True)
    first = leaf.grad.clone()
    loss.backward()
    assert torch.equal(leaf.grad, 2 * first)
    _, made = computed(leaf.detach())
    loss = fastft.cross_entropy(made, labels, inplace=True)
    loss.backward(retain_graph=True)
    with pytest.raises(fastft.ConfigurationError, match="a second backward"):
        loss.backward()


def test_without_gradients_the_logits_stay() -> None:
    logits, labels = logits_and_labels(20, 30)
    before = logits.clone()
    with torch.no_grad():
        fastft.cross_entropy(logits, labels, inplace=True, backend="rust")
    with torch.inference_mode():
        fastft.cross_entropy(logits, labels, inplace=True, backend="rust")
    assert torch.equal(logits, before)


def test_in_place_refuses_what_it_cannot_overwrite() -> None:
    labels = torch.arange(4)
    leaf = torch.randn(4, 9, requires_grad=True)
    with pytest.raises(fastft.ConfigurationError, match="leaf of the graph"):
        fastft.cross_entropy(leaf, labels, inplace=True)
    columns = (leaf * 1).t().contiguous().t()
    with pytest.raises(fastft.ConfigurationError, match="contiguous logits"):
        fastft.cross_entropy(columns, labels, inplace=True)
    repeated = (leaf[:1] * 1).expand(4, 9)
    with pytest.raises(fastft.ConfigurationError, match="contiguous logits"):
        fastft.cross_entropy(repeated, labels, inplace=True)
