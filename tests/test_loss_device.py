"""Losses on a GPU: by chunks through Triton, without waiting; in Triton's interpreter elsewhere."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("triton", reason="triton comes with torch for CUDA, and is not here")

import fastft
from fastft.modeling.losses import choice, chunks, triton_rows
from fastft.modeling.losses.settings import SMALL
from tests.losses import (
    OPTIONS,
    Problem,
    exact_loss,
    gradients,
    logits_and_labels,
    options_for,
    problem,
    relative,
)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TRITON = {"backend": "triton"}

# The interpreter computes in numpy, which tells of NaN where a GPU does not.
pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")


def there(value: Any) -> Any:
    return value.to(DEVICE) if isinstance(value, torch.Tensor) else value


def on_device(case: Problem) -> Problem:
    return Problem(*(there(one) for one in (case.hidden, case.weight, case.labels, case.bias)))


def both(case: Problem, **options: Any) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Loss and gradients: ours by Triton, and exactly, on the CPU."""
    exact, leaves = case.leaves(torch.float64), on_device(case).leaves()
    chunk_tokens = options.pop("chunk_tokens", None)
    loss = fastft.linear_cross_entropy(
        *leaves[:2],
        there(case.labels),
        bias=leaves[2] if case.bias is not None else None,
        chunk_tokens=chunk_tokens,
        **TRITON,
        **{name: there(one) for name, one in options.items()},
    )
    logits = F.linear(exact[0], exact[1], exact[2] if case.bias is not None else None)
    reference = exact_loss(logits, case.labels, **options)
    mix = torch.linspace(0.5, 1.5, loss.numel()).reshape(loss.shape)
    found = [loss.detach(), *gradients((loss * there(mix)).sum(), leaves)]
    right = [reference.detach(), *gradients((reference * mix).sum(), exact)]
    return [one.cpu() for one in found], right


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_of_the_linear_loss(name: str) -> None:
    found, exact = both(problem(14, 8, 50, bias=True), chunk_tokens=6, **options_for(name, 14, 50))
    assert found[0].dtype == torch.float32
    for one, right in zip(found, exact, strict=True):
        assert relative(one, right) < 2e-6


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_of_the_loss_of_logits(name: str, inplace: bool) -> None:
    logits, labels = logits_and_labels(2, 5, 50)
    options = options_for(name, 10, 50)
    weights = options.pop("token_weight", None)
    leaf, exact = there(logits).requires_grad_(), logits.double().requires_grad_()
    loss = fastft.cross_entropy(
        leaf * 1,
        there(labels),
        inplace=inplace,
        token_weight=None if weights is None else there(weights.reshape(2, 5)),
        **TRITON,
        **{name: there(one) for name, one in options.items()},
    )
    right = exact_loss(exact.view(10, 50), labels.view(10), token_weight=weights, **options)
    mix = torch.linspace(0.5, 1.5, right.numel()).reshape(right.shape)
    (found,) = gradients((loss * there(mix.reshape(loss.shape))).sum(), [leaf])
    (wanted,) = gradients((right * mix).sum(), [exact])
    assert relative(loss.detach().cpu().reshape(right.shape), right.detach()) < 1e-6
    assert relative(found.cpu(), wanted) < 2e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("chunk_tokens", [None, 5])
def test_half_precision(dtype: torch.dtype, chunk_tokens: int | None) -> None:
    found, exact = both(problem(16, 8, 129, dtype=dtype, bias=True), chunk_tokens=chunk_tokens)
    assert [one.dtype for one in found] == [torch.float32, *[dtype] * 3]
    assert relative(found[0], exact[0]) < 1e-3
    for one, right in zip(found[1:], exact[1:], strict=True):
        assert float((one - right).norm() / right.norm()) < 1.2e-2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_chunks_do_not_change_the_result(dtype: torch.dtype) -> None:
    case = problem(13, 8, 70, dtype=dtype)
    first, _ = both(case)
    for chunk_tokens in (1, 4, 12):
        found, _ = both(case, chunk_tokens=chunk_tokens)
        for one, right in zip(found, first, strict=True):
            assert relative(one, right) < (2e-6 if dtype == torch.float32 else 1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_in_place_rows_that_lie_apart_are_scaled_alone(dtype: torch.dtype) -> None:
    """As those of a vocabulary with classes that only fill it."""
    logits, labels = logits_and_labels(6, 12)
    leaf = there(logits.to(dtype, copy=True)).requires_grad_()
    exact = logits.double().requires_grad_()
    beside = leaf * 1
    loss = fastft.cross_entropy(beside[:, :9], there(labels % 9), inplace=True, **TRITON)
    (loss * 3).backward()
    (F.cross_entropy(exact[:, :9], labels % 9) * 3).backward()
    assert relative(leaf.grad.cpu(), exact.grad) < (2e-6 if dtype == torch.float32 else 2e-3)
    assert torch.equal(beside[:, 9:].detach(), leaf[:, 9:].detach())


def test_the_default_type_does_not_round_the_divisor() -> None:
    case = on_device(problem(7, 8, 40))
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.bfloat16)
        leaves = case.leaves()
        found = gradients(fastft.linear_cross_entropy(*leaves, case.labels, **TRITON), leaves)
    finally:
        torch.set_default_dtype(before)
    leaves = case.leaves()
    exact = gradients(F.cross_entropy(F.linear(*leaves), case.labels), leaves)
    assert all(relative(one, right) < 2e-6 for one, right in zip(found, exact, strict=True))


def test_the_gradient_of_float16_waits_for_a_scaler() -> None:
    case = problem(12, 4, 900, dtype=torch.float16, ignored=0)
    leaves, exact = on_device(case).leaves(), case.leaves(torch.float64)
    count = there(torch.tensor(3000))
    loss = fastft.linear_cross_entropy(
        *leaves, there(case.labels), denominator=count, chunk_tokens=6, **TRITON
    )
    right = F.cross_entropy(F.linear(*exact), case.labels, reduction="sum") / 3000
    found = gradients(loss * 2.0**12, leaves)
    for one, other in zip(found, gradients(right * 2.0**12, exact), strict=True):
        assert float((one.cpu() - other).norm() / other.norm()) < 3e-3


@pytest.mark.parametrize("frozen", [(0,), (1,), (2,), (0, 1), (1, 2)])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_frozen_parts_get_no_gradient(frozen: tuple[int, ...], reduction: str) -> None:
    case = on_device(problem(8, 6, 30, bias=True))
    full, leaves = case.leaves(), case.leaves()
    for part in frozen:
        leaves[part].requires_grad_(False)
    for hidden, weight, bias in (full, leaves):
        fastft.linear_cross_entropy(
            *(hidden, weight, case.labels), bias=bias, reduction=reduction, **TRITON
        ).sum().backward()
    for part in range(3):
        if part in frozen:
            assert leaves[part].grad is None
        else:
            assert torch.equal(leaves[part].grad, full[part].grad)


def test_an_index_a_shift_and_statistics() -> None:
    case = on_device(problem(12, 6, 30, bias=True))
    kept = (case.labels != -100).nonzero().squeeze(1)
    results = []
    for labels, index in ((case.labels, None), (case.labels[kept], kept)):
        leaves = case.leaves()
        loss, stats = fastft.linear_cross_entropy(
            *(leaves[0].view(3, 4, 6) if index is not None else leaves[0], leaves[1], labels),
            bias=leaves[2],
            index=index,
            return_stats=True,
            **TRITON,
        )
        results.append((loss.detach(), *gradients(loss, leaves), *stats[1:]))
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, rtol=1e-6, atol=1e-7)
    logits = F.linear(case.hidden, case.weight, case.bias).double()
    assert int(results[0][-3]) == int((logits.argmax(-1) == case.labels).sum())
    assert int(results[0][-1]) == len(kept)
    hidden, labels = case.hidden.view(3, 4, 6), case.labels.view(3, 4)
    moved = fastft.linear_cross_entropy(hidden, case.weight, labels, shift=True, **TRITON)
    right = F.cross_entropy(
        F.linear(hidden[:, :-1], case.weight).flatten(0, 1), labels[:, 1:].flatten()
    )
    assert torch.allclose(moved, right)


@pytest.mark.parametrize("num_rows", [0, 9])
@pytest.mark.parametrize("denominator", [None, 0, torch.tensor(0)])
def test_no_label_counts(num_rows: int, denominator: Any) -> None:
    case = on_device(problem(num_rows, 4, 11, ignored=1))
    leaves = case.leaves()
    loss = fastft.linear_cross_entropy(
        *leaves, case.labels, denominator=there(denominator), **TRITON
    )
    if num_rows or denominator is None:
        assert not loss.detach()
    assert not any(gradient.any() for gradient in gradients(loss, leaves))


def test_labels_that_are_no_class_make_the_loss_undefined() -> None:
    case = on_device(problem(6, 4, 11, ignored=0))
    case.labels[2] = 11
    for weights in (None, there(torch.ones(11))):
        loss = fastft.linear_cross_entropy(
            *case.leaves(), case.labels, class_weight=weights, **TRITON
        )
        assert loss.isnan()
    each = fastft.linear_cross_entropy(*case.leaves(), case.labels, reduction="none", **TRITON)
    assert each.isnan().tolist() == [False, False, True, False, False, False]


def test_backward_scales_and_runs_once() -> None:
    case = on_device(problem(8, 4, 11))
    plain, scaled = case.leaves(), case.leaves()
    fastft.linear_cross_entropy(*plain, case.labels, **TRITON).backward()
    loss = fastft.linear_cross_entropy(*scaled, case.labels, **TRITON)
    (loss * 3).backward(retain_graph=True)
    for one, right in zip(scaled, plain, strict=True):
        assert relative(one.grad, 3 * right.grad) < 1e-6
    with pytest.raises(fastft.ConfigurationError, match="one backward"):
        loss.backward()


def test_autocast_does_not_reach_the_products() -> None:
    case = on_device(problem(8, 16, 30, bias=True))
    leaves = case.leaves()
    with torch.autocast(DEVICE, torch.bfloat16):
        loss = fastft.linear_cross_entropy(
            *leaves[:2], case.labels, bias=leaves[2], chunk_tokens=3, **TRITON
        )
    assert loss.dtype == torch.float32
    assert [one.dtype for one in gradients(loss, leaves)] == [torch.float32] * 3


def test_large_losses_take_this_way_on_a_gpu_by_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choice, "_is_plain_together", lambda *tensors: True)
    asked = [
        ("auto", SMALL, torch.bfloat16, True),
        ("auto", SMALL - 1, torch.bfloat16, True),
        ("auto", SMALL, torch.float64, True),
        ("auto", SMALL, torch.bfloat16, False),
        ("torch", SMALL, torch.bfloat16, True),
        ("triton", 1, torch.bfloat16, True),
        ("triton", 0, torch.bfloat16, True),
    ]
    found = [
        choice.runs_triton(backend, size, dtype, SimpleNamespace(is_cuda=is_gpu))
        for backend, size, dtype, is_gpu in asked
    ]
    assert found == [True, False, False, False, False, True, False]
    monkeypatch.setattr(triton_rows, "is_there", lambda: False)
    gpu: Any = SimpleNamespace(is_cuda=True)
    assert not choice.runs_triton("auto", SMALL, torch.bfloat16, gpu)


def test_chunks_on_a_gpu_are_larger() -> None:
    plan = chunks.Plan(on_device=True)
    small, large = torch.empty(50257, 1), torch.empty(128256, 1)
    assert (plan.tokens_at_once(small), plan.tokens_at_once(large)) == (4096, 2048)
    assert chunks.Plan().tokens_at_once(small) == 256
    assert chunks.Plan(7, on_device=True).tokens_at_once(large) == 7


def test_rows_of_logits_are_aligned() -> None:
    case = on_device(problem(8, 4, 50))
    linear = chunks.Linear(case.hidden, case.weight, None)
    room = chunks._room(linear, chunks.Plan(on_device=True), 8)
    assert (room.shape, room.stride()) == ((8, 50), (64, 1))


def test_what_triton_cannot_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    case = on_device(problem(6, 4, 11, dtype=torch.float64))
    with pytest.raises(fastft.ConfigurationError, match=r"torch\.float64 on"):
        fastft.linear_cross_entropy(*case.leaves(), case.labels, **TRITON)
    single = on_device(problem(6, 4, 11))
    if DEVICE == "cpu":
        monkeypatch.setattr(triton_rows.kernels(), "IS_INTERPRETED", False)
        with pytest.raises(fastft.ConfigurationError, match="TRITON_INTERPRET=1"):
            fastft.linear_cross_entropy(*single.leaves(), single.labels, **TRITON)
    monkeypatch.setitem(sys.modules, "fastft.modeling.losses.triton_kernel", None)
    for call in (fastft.linear_cross_entropy, lambda a, b, c, **o: fastft.cross_entropy(a, c, **o)):
        with pytest.raises(fastft.ConfigurationError, match="pip install triton"):
            call(*single.leaves(), single.labels, **TRITON)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_none_is_computed(mode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    case = on_device(problem(8, 4, 11))
    leaves = case.leaves()
    right = fastft.linear_cross_entropy(*leaves, case.labels, **TRITON)
    monkeypatch.setattr(chunks._Sums, "add", None)
    with mode():
        loss = fastft.linear_cross_entropy(*leaves, case.labels, chunk_tokens=3, **TRITON)
        logits = F.linear(*leaves)
        other = fastft.cross_entropy(logits, case.labels, inplace=True, **TRITON)
    assert not loss.requires_grad
    assert torch.allclose(logits, F.linear(*leaves))
    assert torch.allclose(loss, right) and torch.allclose(other, right)
