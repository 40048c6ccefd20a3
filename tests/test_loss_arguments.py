"""What a loss is given may be wrong, strange or changed meanwhile; its size decides nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import fastft
from tests.losses import logits_and_labels, relative

LARGE = 2_000
"""Rows of 200 classes that the Rust kernel takes; a tenth of them go to torch."""
SIZES = [LARGE // 10, LARGE]


def layer(num_rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(num_rows)
    hidden = torch.randn(num_rows, 4, generator=generator)
    weight = torch.randn(200, 4, generator=generator)
    return hidden, weight, torch.randint(200, (num_rows,), generator=generator)


@pytest.mark.parametrize("num_rows", SIZES)
@pytest.mark.parametrize(
    ("place", "changes"),
    [
        ("bias", {"bias": torch.zeros(1)}),
        ("bias", {"bias": torch.zeros(())}),
        ("bias", {"bias": [0.0]}),
        ("labels", {"labels": lambda given: F.one_hot(given, 200).float()}),
        ("labels", {"labels": lambda given: given.to(torch.uint8)}),
        ("labels", {"labels": lambda given: given.tolist()}),
        ("labels", {"labels": None}),
        ("labels", {"labels": lambda given: given.to("meta")}),
        ("labels", {"hidden": torch.zeros(4)}),
        ("hidden", {"hidden": np.zeros((3, 4))}),
        ("hidden and weight", {"weight": torch.zeros(200)}),
        ("hidden and weight", {"weight": torch.zeros((), dtype=torch.float32)}),
        ("hidden and weight", {"weight": torch.empty(200, 4, device="meta")}),
        ("chunk_tokens", {"chunk_tokens": -5}),
        ("chunk_tokens", {"chunk_tokens": True}),
        ("accum_dtype", {"accum_dtype": torch.int8}),
        ("accum_dtype", {"accum_dtype": []}),
        ("logit_scale", {"logit_scale": torch.tensor(1.0)}),
        ("z_loss", {"z_loss": torch.tensor(0.0)}),
        ("softcap", {"softcap": float("inf")}),
        ("ignore_index", {"ignore_index": None}),
        ("ignore_index", {"ignore_index": -100.0}),
        ("ignore_index", {"ignore_index": 2**63}),
        ("ignore_index", {"ignore_index": True}),
        ("ignore_index", {"ignore_index": torch.tensor(3)}),
        ("denominator", {"denominator": -1}),
        ("denominator", {"denominator": float("nan")}),
        ("denominator", {"denominator": "3"}),
        ("denominator", {"denominator": True}),
        ("denominator", {"denominator": 1j}),
        ("denominator", {"denominator": torch.tensor(1j)}),
        ("denominator", {"denominator": torch.tensor(-2)}),
        ("denominator", {"denominator": torch.tensor(float("nan"))}),
        ("denominator", {"denominator": torch.tensor(2.0, requires_grad=True)}),
        ("class_weight", {"class_weight": torch.ones(200, dtype=torch.complex64)}),
        ("class_weight", {"class_weight": [1.0] * 200}),
        ("class_weight", {"class_weight": torch.ones(200, requires_grad=True)}),
        ("token_weight", {"token_weight": lambda given: (given * 0.5).requires_grad_()}),
        ("token_weight", {"token_weight": lambda given: given * 1j}),
        ("token_weight", {"token_weight": 2.0}),
        ("index", {"index": [0]}),
    ],
)
def test_wrong_arguments_are_named_whatever_the_size(
    place: str, changes: dict[str, Any], num_rows: int
) -> None:
    hidden, weight, labels = layer(num_rows)
    for name, value in changes.items():
        changed = value(labels) if callable(value) else value
        changes = {name: changed}
    arguments: dict[str, Any] = {"hidden": hidden, "weight": weight, "labels": labels, **changes}
    with pytest.raises(fastft.ConfigurationError) as caught:
        fastft.linear_cross_entropy(**arguments)
    assert caught.value.place == place
    assert caught.value.found
    assert caught.value.expected or caught.value.fix


@pytest.mark.parametrize("logits", [[[0.0]], np.zeros((2, 3))])
def test_logits_have_to_be_a_tensor(logits: Any) -> None:
    with pytest.raises(fastft.ConfigurationError, match="logits"):
        fastft.cross_entropy(logits, torch.tensor([0]))


@pytest.mark.parametrize("labels", [None, torch.zeros(3, dtype=torch.int64, device="meta")])
def test_labels_are_a_tensor_beside_the_logits(labels: Any) -> None:
    with pytest.raises(fastft.ConfigurationError, match="labels cannot be used"):
        fastft.cross_entropy(torch.zeros(3, 5), labels)


def test_weights_may_require_grad_where_nobody_asks_for_it() -> None:
    hidden, weight, labels = layer(30)
    weights = torch.rand(30, requires_grad=True)
    with torch.no_grad():
        found = fastft.linear_cross_entropy(hidden, weight, labels, token_weight=weights)
    losses = F.cross_entropy(hidden @ weight.T, labels, reduction="none")
    assert torch.allclose(found, (losses * weights).sum() / weights.sum())


@pytest.mark.parametrize("num_rows", SIZES)
def test_a_denominator_of_one_entry_gives_one_number(num_rows: int) -> None:
    hidden, weight, labels = layer(num_rows)
    found = fastft.linear_cross_entropy(hidden, weight, labels, denominator=torch.tensor([[7]]))
    assert found.shape == ()
    assert torch.allclose(found, F.cross_entropy(hidden @ weight.T, labels, reduction="sum") / 7)


@pytest.mark.parametrize("num_rows", SIZES)
def test_a_denominator_of_zero_is_an_error_or_nothing(num_rows: int) -> None:
    hidden, weight, labels = layer(num_rows)
    with pytest.raises(fastft.ConfigurationError, match="denominator"):
        fastft.linear_cross_entropy(hidden, weight, labels, denominator=0)
    ignored = torch.full_like(labels, -100)
    assert fastft.linear_cross_entropy(hidden, weight, ignored, denominator=0) == 0


@pytest.mark.parametrize("backend", ["auto", "rust", "torch"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_of_ignored_labels_are_not_looked_at(value: float, backend: str) -> None:
    logits, labels = logits_and_labels(60, 9)
    weights = torch.rand(60) + 0.5
    exact = fastft.cross_entropy(logits, labels, token_weight=weights)
    leaf = logits.clone().requires_grad_()
    weights[labels == -100] = value
    found = fastft.cross_entropy(leaf, labels, token_weight=weights, backend=backend)
    assert torch.allclose(found, exact)
    assert torch.autograd.grad(found, leaf)[0].isfinite().all()


@pytest.mark.parametrize("backend", ["auto", "rust", "torch"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_class_that_never_occurs_may_weigh_anything(reduction: str, backend: str) -> None:
    logits, labels = logits_and_labels(60, 9)
    labels[labels == 0] = 1
    weights = torch.rand(9)
    weights[0] = float("inf")
    leaf = logits.clone().requires_grad_()
    options: dict[str, Any] = {"reduction": reduction}
    found = fastft.cross_entropy(leaf, labels, class_weight=weights, backend=backend, **options)
    assert torch.allclose(found, F.cross_entropy(logits, labels, weight=weights, **options))
    assert torch.autograd.grad(found, leaf)[0].isfinite().all()


@pytest.mark.parametrize("which", ["labels", "token_weight", "class_weight", "index"])
@pytest.mark.parametrize("function", ["cross_entropy", "linear_cross_entropy"])
def test_what_a_backward_reads_again_may_not_have_changed(function: str, which: str) -> None:
    """As torch says it of its own losses; else the gradient would be of another loss."""
    hidden, weight, labels = layer(LARGE)
    given: dict[str, Any] = {
        "labels": labels,
        "token_weight": torch.rand(LARGE, dtype=torch.float64),
        "class_weight": torch.rand(200, dtype=torch.float64),
    }
    if function == "linear_cross_entropy":
        given["index"] = torch.arange(LARGE)
        hidden.requires_grad_()
        loss = fastft.linear_cross_entropy(hidden, weight, **given, reduction="none").sum()
    elif which == "index":
        return
    else:
        logits = (hidden @ weight.T).requires_grad_()
        loss = fastft.cross_entropy(logits, **given)
    given[which].mul_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("view", [lambda leaf: leaf.view(1, 2, 3), lambda leaf: leaf[:]])
def test_in_place_a_parameter_is_left_alone(view: Any) -> None:
    leaf = torch.nn.Parameter(torch.ones(2, 3))
    given = view(leaf)
    labels = torch.zeros(given.shape[:-1], dtype=torch.int64)
    with pytest.raises(fastft.ConfigurationError, match="leaf"):
        fastft.cross_entropy(given, labels, inplace=True)
    assert (leaf == 1).all()


@pytest.mark.parametrize("backend", ["auto", "rust", "torch"])
def test_a_shift_of_nothing_and_of_narrow_labels(backend: str) -> None:
    nothing = torch.empty(2, 0, 9), torch.empty(2, 0, dtype=torch.int64)
    assert fastft.cross_entropy(*nothing, shift=True, backend=backend) == 0
    logits, labels = logits_and_labels(2, 6, 9)
    exact = fastft.cross_entropy(logits, labels, shift=True)
    wide = labels.masked_fill(labels == -100, 3).int()
    found = fastft.cross_entropy(logits, wide, shift=True, ignore_index=2**40, backend=backend)
    assert found != exact
    labels = labels.int()
    assert fastft.cross_entropy(logits, labels, shift=True, backend=backend).isclose(exact)


def test_fake_and_subclassed_tensors_take_the_plain_way() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode() as mode:
        logits = torch.randn(300, 1000, requires_grad=True)
        loss = fastft.cross_entropy(logits, torch.zeros(300, dtype=torch.int64))
        loss.backward()
    assert loss.shape == () and loss.fake_mode is mode


def test_memory_that_is_not_aligned_is_not_handed_to_rust() -> None:
    raw = bytearray(8 * LARGE + 1)
    labels = torch.frombuffer(raw, dtype=torch.int64, offset=1)
    assert labels.data_ptr() % 8
    hidden, weight, _ = layer(LARGE)
    found = fastft.cross_entropy(hidden @ weight.T, labels)
    assert found.isclose(F.cross_entropy(hidden @ weight.T, labels.clone()))
    with pytest.raises(fastft.ConfigurationError, match="backend"):
        fastft.cross_entropy(hidden @ weight.T, labels, backend="rust")


def test_values_kept_with_the_other_sign_are_not_handed_to_rust() -> None:
    hidden, weight, labels = layer(LARGE)
    logits = torch._neg_view(hidden @ weight.T)
    assert logits.is_neg()
    found = fastft.cross_entropy(logits, labels)
    assert found.isclose(F.cross_entropy(-(hidden @ weight.T), labels))
    with pytest.raises(fastft.ConfigurationError, match="backend"):
        fastft.cross_entropy(logits, labels, backend="rust")


def test_a_wrong_label_is_named_under_another_default_device() -> None:
    with torch.device("meta"), pytest.raises(fastft.LabelError, match=r"labels\[1\]"):
        fastft.cross_entropy(
            torch.zeros(2, 3, device="cpu"), torch.tensor([0, 7], device="cpu"), backend="rust"
        )


def test_an_empty_vocabulary_has_no_label() -> None:
    with pytest.raises(fastft.LabelError, match="there are no classes"):
        fastft.cross_entropy(torch.zeros(1, 0), torch.tensor([0]))


@pytest.mark.parametrize("name", ["weight", "labels", "hidden"])
def test_a_module_is_not_settled_on_what_comes_with_a_batch(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        fastft.LinearCrossEntropy(**{name: torch.zeros(2)})


@pytest.mark.parametrize(
    "options", [{"label_smoothing": 7.0}, {"reduction": "foo"}, {"chunk_tokens": 0}]
)
def test_a_module_looks_at_its_options_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(fastft.ConfigurationError, match=next(iter(options))):
        fastft.LinearCrossEntropy(**options)


def test_float64_is_summed_in_float64() -> None:
    hidden, weight, labels = layer(700)
    hidden, weight = hidden.double().requires_grad_(), weight.double().requires_grad_()
    options = {"backend": "rust", "chunk_tokens": 100, "accum_dtype": "float32"}
    found = fastft.linear_cross_entropy(hidden, weight, labels, **options)
    exact = F.cross_entropy(hidden @ weight.T, labels)
    pairs = zip(
        *(torch.autograd.grad(one, (hidden, weight)) for one in (found, exact)), strict=True
    )
    assert all(relative(ours, theirs) < 1e-14 for ours, theirs in pairs)
    fused = fastft.linear_cross_entropy(hidden, weight, labels, backend="torch_fused")
    assert fused.dtype == torch.float64
    assert relative(fused.detach(), exact.detach()) < 1e-14
