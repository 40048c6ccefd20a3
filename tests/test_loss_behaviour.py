"""Losses inside torch: autocast, compile, no_grad, graphs used twice, small ones; wrong input."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import fastft
from fastft.modeling.losses import cross_entropy as logits_module
from fastft.modeling.losses import fused_linear
from fastft.modeling.losses import linear_cross_entropy as linear_module
from tests.losses import gradients, problem, relative

RUST = {"backend": "rust"}


def test_the_loss_may_be_scaled_in_place() -> None:
    case = problem(50, 6, 40)
    plain, scaled = case.leaves(), case.leaves()
    fastft.linear_cross_entropy(*plain, case.labels, **RUST).backward()
    loss = fastft.linear_cross_entropy(*scaled, case.labels, **RUST)
    loss *= 3.0
    loss /= 2.0
    loss.backward()
    for one, right in zip(scaled, plain, strict=True):
        assert relative(one.grad, 1.5 * right.grad) < 1e-6


def test_a_second_backward_is_a_clear_error() -> None:
    case = problem(50, 6, 40)
    loss = fastft.linear_cross_entropy(*case.leaves(), case.labels, **RUST)
    loss.backward(retain_graph=True)
    with pytest.raises(fastft.ConfigurationError) as caught:
        loss.backward()
    assert caught.value.found == "a second backward"
    assert "backend='torch'" in str(caught.value.fix)


def test_the_gradient_of_the_gradient_is_a_clear_error() -> None:
    case = problem(50, 6, 40)
    leaves = case.leaves()
    loss = fastft.linear_cross_entropy(*leaves, case.labels, **RUST)
    with pytest.raises(fastft.ConfigurationError, match="create_graph"):
        torch.autograd.grad(loss, leaves, create_graph=True)
    loss = fastft.linear_cross_entropy(*leaves, case.labels, backend="torch")
    torch.autograd.grad(loss, leaves, create_graph=True)


def test_losses_of_rows_may_go_backward_twice() -> None:
    case = problem(50, 6, 40)
    leaves = case.leaves()
    losses = fastft.linear_cross_entropy(*leaves, case.labels, reduction="none", **RUST)
    losses.sum().backward(retain_graph=True)
    once = leaves[1].grad.clone()
    losses.sum().backward()
    assert torch.equal(leaves[1].grad, 2 * once)


def test_gradients_of_others_add_up() -> None:
    case = problem(50, 6, 40)
    leaves, right = case.leaves(), case.leaves()
    loss = fastft.linear_cross_entropy(*leaves, case.labels, **RUST)
    (loss + leaves[1].square().sum()).backward()
    exact = F.cross_entropy(F.linear(*right), case.labels) + right[1].square().sum()
    exact.backward()
    assert relative(leaves[1].grad, right[1].grad) < 1e-6


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_none_is_computed(mode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    case = problem(50, 6, 40)
    leaves = case.leaves()
    wanted: list[bool] = []
    losses = fused_linear.losses

    def watched(linear: Any, labels: Any, kernel: Any, plan: Any, **options: Any) -> Any:
        wanted.append(plan.wants_any)
        return losses(linear, labels, kernel, plan, **options)

    monkeypatch.setattr(fused_linear, "losses", watched)
    with mode():
        for reduction in ("mean", "none"):
            loss = fastft.linear_cross_entropy(*leaves, case.labels, reduction=reduction, **RUST)
            assert not loss.requires_grad
            right = F.cross_entropy(F.linear(*leaves), case.labels, reduction=reduction)
            assert torch.allclose(loss, right, rtol=1e-6)
    assert wanted == [False, False]


@pytest.mark.parametrize("backend", ["rust", "torch"])
def test_autocast_is_followed(backend: str) -> None:
    case = problem(600, 16, 300, bias=True)
    leaves, eager = case.leaves(), case.leaves()
    with torch.autocast("cpu", torch.bfloat16):
        loss = fastft.linear_cross_entropy(
            *leaves[:2], case.labels, bias=leaves[2], backend=backend
        )
        logits = F.linear(*eager)
        right = F.cross_entropy(logits, case.labels)
        assert logits.dtype == torch.bfloat16
    assert loss.dtype == right.dtype == torch.float32
    assert relative(loss.detach(), right.detach()) < 1e-5
    loss.backward()
    right.backward()
    for one, other in zip(leaves, eager, strict=True):
        assert one.grad.dtype == torch.float32
        assert float((one.grad - other.grad).norm() / other.grad.norm()) < 1e-2


def test_autocast_does_not_reach_the_products() -> None:
    # float64 is left alone by autocast, here as in F.linear.
    case = problem(20, 4, 30, dtype=torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        loss = fastft.linear_cross_entropy(case.hidden, case.weight, case.labels, **RUST)
    exact = F.cross_entropy(F.linear(case.hidden, case.weight), case.labels)
    assert loss.dtype == torch.float64
    assert relative(loss, exact) < 1e-12


@pytest.mark.parametrize("backend", ["aot_eager", "eager"])
def test_compiled_code_gets_the_same_loss(backend: str) -> None:
    case = problem(50, 6, 3000)
    plain, compiled = case.leaves(), case.leaves()

    def loss(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> Any:
        linear = fastft.linear_cross_entropy(hidden * 2, weight, labels)
        return linear + fastft.cross_entropy(F.linear(hidden, weight), labels)

    right = loss(*plain, case.labels)
    found = torch.compile(loss, backend=backend, fullgraph=True)(*compiled, case.labels)
    assert relative(found.detach(), right.detach()) < 1e-6
    for one, other in zip(gradients(found, compiled), gradients(right, plain), strict=True):
        assert relative(one, other) < 3e-6


def test_small_problems_go_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("a small problem took the long way")

    monkeypatch.setattr(linear_module, "Settings", never)
    monkeypatch.setattr(logits_module, "Settings", never)
    case = problem(16, 24, 2)
    leaves = case.leaves()
    loss = fastft.linear_cross_entropy(*leaves, case.labels)
    assert torch.equal(loss, F.cross_entropy(F.linear(*leaves), case.labels))
    logits = F.linear(*leaves)
    assert torch.equal(
        fastft.cross_entropy(logits, case.labels), F.cross_entropy(logits, case.labels)
    )
    with pytest.raises(AssertionError, match="the long way"):
        fastft.linear_cross_entropy(*leaves, case.labels, z_loss=0.1)


def test_large_problems_go_to_rust() -> None:
    case = problem(100, 4, 4000)
    assert (
        "_Ready" in type(fastft.linear_cross_entropy(*case.leaves(), case.labels).grad_fn).__name__
    )
    logits = F.linear(*case.leaves())
    assert "_Fused" in type(fastft.cross_entropy(logits, case.labels).grad_fn).__name__


def test_the_module_is_the_function_with_its_options() -> None:
    case = problem(50, 6, 40, bias=True)
    weights = torch.rand(40)
    options: dict[str, Any] = {"label_smoothing": 0.1, "backend": "rust"}
    module = fastft.LinearCrossEntropy(class_weight=weights, **options)
    found = module(case.hidden, case.weight, case.labels, bias=case.bias, denominator=7)
    right = fastft.linear_cross_entropy(
        *(case.hidden, case.weight, case.labels),
        bias=case.bias,
        denominator=7,
        class_weight=weights,
        **options,
    )
    assert torch.equal(found, right)
    assert "label_smoothing=0.1" in repr(module)
    assert not list(module.parameters())
    twin = copy.deepcopy(module).double()
    assert twin.class_weight.dtype == torch.float64
    with pytest.raises(TypeError, match="no option 'smoothing'"):
        fastft.LinearCrossEntropy(smoothing=0.1)


@pytest.mark.parametrize("backend", ["auto", "rust", "torch"])
@pytest.mark.parametrize("options", [{}, {"class_weight": torch.ones(40)}, {"reduction": "none"}])
@pytest.mark.parametrize("label", [-1, 40, 2**40])
def test_labels_outside_the_vocabulary_are_named(
    label: int, options: dict[str, Any], backend: str
) -> None:
    case = problem(12, 6, 40)
    case.labels[7] = label
    options = {**options, "backend": backend}
    for call in (
        lambda: fastft.linear_cross_entropy(*case.leaves(), case.labels, **options),
        lambda: fastft.cross_entropy(F.linear(*case.leaves()), case.labels, **options),
    ):
        with pytest.raises(fastft.LabelError) as caught:
            call()
        assert caught.value.place == "labels[7]"
        assert caught.value.found == str(label)
        assert caught.value.expected == "0 to 39, or ignore_index -100"


def test_labels_of_sequences_are_named_by_their_place() -> None:
    case = problem(12, 6, 40)
    hidden, labels = case.hidden.view(3, 4, 6), case.labels.view(3, 4).clone()
    labels[1, 3] = 40
    for options in ({}, {"shift": True}, {"backend": "rust"}, {"shift": True, "backend": "rust"}):
        with pytest.raises(fastft.LabelError) as caught:
            fastft.linear_cross_entropy(hidden, case.weight, labels, **options)
        assert caught.value.place == "labels[1, 3]"
        with pytest.raises(fastft.LabelError) as caught:
            fastft.cross_entropy(F.linear(hidden, case.weight), labels, **options)
        assert caught.value.place == "labels[1, 3]"


def test_in_place_a_wrong_label_leaves_the_logits_alone() -> None:
    logits = torch.randn(4, 9, requires_grad=True) * 1
    before = logits.detach().clone()
    with pytest.raises(fastft.LabelError):
        fastft.cross_entropy(logits, torch.tensor([0, 1, 2, 9]), inplace=True)
    assert torch.equal(logits, before)


HIDDEN, WEIGHT, LABELS = torch.zeros(4, 3), torch.zeros(5, 3), torch.zeros(4, dtype=torch.int64)


@pytest.mark.parametrize("backend", ["auto", "rust", "torch"])
@pytest.mark.parametrize(
    ("place", "changes"),
    [
        ("hidden and weight", {"weight": torch.zeros(5, 2)}),
        ("hidden and weight", {"weight": torch.zeros(5)}),
        ("hidden and weight", {"weight": WEIGHT.double()}),
        ("hidden and weight", {"hidden": HIDDEN.long(), "weight": WEIGHT.long()}),
        ("labels", {"labels": LABELS[:3]}),
        ("labels", {"labels": LABELS.float()}),
        ("labels", {"labels": LABELS.view(2, 2)}),
        ("labels", {"shift": True}),
        ("bias", {"bias": torch.zeros(4)}),
        ("bias", {"bias": torch.zeros(5).double()}),
        ("class_weight", {"class_weight": torch.zeros(4)}),
        ("token_weight", {"token_weight": torch.zeros(5)}),
        ("index", {"index": torch.tensor([0, 1, 2, 4])}),
        ("index", {"index": torch.tensor([0, 1, 2, -1])}),
        ("index", {"index": torch.tensor([0.0, 1.0, 2.0, 3.0])}),
        ("labels", {"index": torch.tensor([0, 1])}),
        ("index", {"index": torch.tensor([0, 1, 2, 3]), "shift": True}),
        ("reduction", {"reduction": "median"}),
        ("denominator", {"denominator": 3, "reduction": "none"}),
        ("denominator", {"denominator": torch.ones(2)}),
        ("label_smoothing", {"label_smoothing": 1.5}),
        ("label_smoothing", {"label_smoothing": float("nan")}),
        ("z_loss", {"z_loss": -1.0}),
        ("softcap", {"softcap": 0.0}),
        ("logit_scale", {"logit_scale": float("inf")}),
        ("chunk_tokens", {"chunk_tokens": 0, "z_loss": 0.1}),
        ("chunk_tokens", {"chunk_tokens": 2.5, "z_loss": 0.1}),
        ("accum_dtype", {"accum_dtype": torch.int8, "z_loss": 0.1}),
    ],
)
def test_wrong_arguments_are_named(place: str, changes: dict[str, Any], backend: str) -> None:
    arguments: dict[str, Any] = {"hidden": HIDDEN, "weight": WEIGHT, "labels": LABELS}
    with pytest.raises(fastft.ConfigurationError) as caught:
        fastft.linear_cross_entropy(**{**arguments, "backend": backend, **changes})
    assert caught.value.place == place
    assert caught.value.expected


def test_unknown_backends_are_named() -> None:
    with pytest.raises(fastft.ConfigurationError, match="one of auto, rust, torch"):
        fastft.linear_cross_entropy(HIDDEN, WEIGHT, LABELS, backend="fortran")
    meta = [one.to("meta") for one in (HIDDEN, WEIGHT, LABELS)]
    with pytest.raises(fastft.ConfigurationError, match=r"torch\.float32 on meta"):
        fastft.linear_cross_entropy(*meta, index=None, **RUST)


def test_a_denominator_of_zero_is_an_error_where_labels_count() -> None:
    with pytest.raises(fastft.ConfigurationError, match="denominator"):
        fastft.linear_cross_entropy(HIDDEN, WEIGHT, LABELS, denominator=0, **RUST)
    ignored = torch.full((4,), -100)
    loss = fastft.linear_cross_entropy(HIDDEN, WEIGHT, ignored, denominator=0, **RUST)
    assert loss.item() == 0


def test_weights_that_sum_to_zero_give_zero() -> None:
    case = problem(12, 6, 5)
    for backend in ("rust", "torch"):
        loss = fastft.linear_cross_entropy(
            *case.leaves(), case.labels, token_weight=torch.zeros(12), backend=backend
        )
        assert loss.item() == 0
