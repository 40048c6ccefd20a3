"""`fastft.linear_cross_entropy`: chunks, threads, rows left out, half precision, memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import fastft
from fastft.modeling.losses import chunks, fused_linear
from tests.losses import both, gradients, problem, relative

RUST = {"backend": "rust"}


@pytest.mark.parametrize("accum_dtype", ["auto", torch.float32])
def test_bfloat16_is_as_right_as_its_format(accum_dtype: Any) -> None:
    case = problem(1500, 16, 2000, dtype=torch.bfloat16, bias=True)
    found, exact = both(case, accum_dtype=accum_dtype)
    assert [one.dtype for one in found] == [torch.float32, *[torch.bfloat16] * 3]
    # Above what torch's chunked loss reaches by four orders of magnitude; the logits are rounded.
    assert relative(found[0], exact[0]) < 1e-4
    for one, right in zip(found[1:], exact[1:], strict=True):
        assert float((one - right).norm() / right.norm()) < 6e-3


def test_the_loss_in_bfloat16_is_that_of_the_rounded_logits() -> None:
    case = problem(1100, 16, 500, dtype=torch.bfloat16)
    loss = fastft.linear_cross_entropy(case.hidden, case.weight, case.labels, **RUST)
    logits = F.linear(case.hidden, case.weight)
    exact = F.cross_entropy(logits.double(), case.labels)
    assert relative(loss, exact) < 1e-5


def test_float32_sums_of_the_weight_gradient_round_less() -> None:
    case = problem(4096, 16, 300, dtype=torch.bfloat16, ignored=0)
    (_, _, rough), exact = both(case, accum_dtype="auto", chunk_tokens=64)
    (_, _, fine), _ = both(case, accum_dtype=torch.float32, chunk_tokens=64)
    assert (fine - exact[2]).norm() < (rough - exact[2]).norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_chunks_and_threads_do_not_change_the_result(dtype: torch.dtype) -> None:
    case = problem(300, 8, 700, dtype=dtype)
    tolerance = 2e-6 if dtype == torch.float32 else 1e-2
    # In its own type a weight gradient in half precision is rounded once a chunk.
    first, _ = both(case, chunk_tokens=300, accum_dtype=torch.float32)
    before = torch.get_num_threads()
    for chunk_tokens, num_threads in [(1, 1), (7, 2), (64, 3), (256, 2), (10**6, 1)]:
        torch.set_num_threads(num_threads)
        try:
            found, _ = both(case, chunk_tokens=chunk_tokens, accum_dtype=torch.float32)
        finally:
            torch.set_num_threads(before)
        for one, right in zip(found, first, strict=True):
            assert relative(one, right) < tolerance


def test_the_row_kernel_does_not_depend_on_threads_to_the_bit() -> None:
    logits = torch.randn(600, 900)
    labels = torch.randint(900, (600,))
    before, results = torch.get_num_threads(), []
    for num_threads in (1, 2, 5):
        torch.set_num_threads(num_threads)
        try:
            leaf = logits.clone().requires_grad_()
            loss = fastft.cross_entropy(leaf, labels, backend="rust")
            results.append((loss.detach(), *gradients(loss, [leaf])))
        finally:
            torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


def test_rows_without_a_label_are_never_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    case = problem(400, 4, 50)
    rows: list[int] = []
    losses = fused_linear.losses

    def watched(linear: Any, *arguments: Any, **options: Any) -> Any:
        rows.append(len(linear.hidden))
        return losses(linear, *arguments, **options)

    monkeypatch.setattr(fused_linear, "losses", watched)
    fastft.linear_cross_entropy(*case.leaves(), case.labels, **RUST).backward()
    assert rows == [300]


def test_a_denominator_adds_up_over_micro_batches() -> None:
    case = problem(64, 6, 40)
    whole, parts = case.leaves(), case.leaves()
    gradient = gradients(fastft.linear_cross_entropy(*whole, case.labels, **RUST), whole)
    count = (case.labels != -100).sum()
    for start in range(0, 64, 16):
        rows = slice(start, start + 16)
        loss = fastft.linear_cross_entropy(
            parts[0][rows], parts[1], case.labels[rows], denominator=count, **RUST
        )
        loss.backward()
    for one, right in zip(parts, gradient, strict=True):
        assert relative(one.grad, right) < 1e-6


def test_a_row_may_be_named_twice() -> None:
    case = problem(10, 3, 6, ignored=0)
    index = torch.tensor([7, 2, 7])
    leaves, theirs = case.leaves(), case.leaves()
    loss = fastft.linear_cross_entropy(*leaves, case.labels[index], index=index, **RUST)
    right = F.cross_entropy(F.linear(theirs[0][index], theirs[1]), case.labels[index])
    for one, other in zip(gradients(loss, leaves), gradients(right, theirs), strict=True):
        assert relative(one, other) < 1e-6


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that is made."""

    size = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.size = max(self.size, result.numel())
        return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("num_classes", [1, 16, 129, 4096, 50257])
def test_rows_of_logits_begin_on_cache_lines_that_share_no_place(
    num_classes: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    product = chunks.Linear.logits

    def watching(linear: chunks.Linear, start: int, end: int, out: torch.Tensor) -> torch.Tensor:
        seen.append(out)
        return product(linear, start, end, out)

    monkeypatch.setattr(chunks.Linear, "logits", watching)
    case = problem(7, 2, num_classes, dtype=dtype)
    fastft.linear_cross_entropy(*case.leaves(), case.labels, chunk_tokens=3, **RUST).backward()
    assert [len(one) for one in seen] == [3, 2]
    for one in seen:
        step = one.stride(0) * one.element_size()
        assert (one.data_ptr() % 64, step % 64, step // 64 % 2) == (0, 0, 1)
        assert num_classes <= one.stride(0) < num_classes + 128


class Products(TorchDispatchMode):
    """Notes how wide each matrix product is."""

    def __init__(self) -> None:
        super().__init__()
        self.widths: list[int] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if function in (torch.ops.aten.mm.out, torch.ops.aten.addmm.out):
            self.widths.append(result.shape[1])
        return result


def at_level(monkeypatch: pytest.MonkeyPatch, capability: str, num_threads: int) -> None:
    """Has torch say that it multiplies with these instructions, on so many threads."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch, "get_num_threads", lambda: num_threads)


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("num_classes", [0, 1, 511, 512, 513, 1030])
@pytest.mark.parametrize(("capability", "num_threads"), [("AVX2", 1), ("AVX2", 4), ("AVX512", 1)])
def test_logits_in_parts_are_those_of_one_product(
    capability: str,
    num_threads: int,
    num_classes: int,
    with_bias: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def whole_numbers(*shape: int) -> torch.Tensor:
        # Their products have no rounding, so that no order of summation can be told.
        return torch.randint(-8, 9, shape).float()

    hidden, weight = whole_numbers(9, 7), whole_numbers(num_classes, 7)
    bias = whole_numbers(num_classes) if with_bias else None
    room = torch.full((4, num_classes + 3), torch.nan)
    at_level(monkeypatch, capability, num_threads)
    with Products() as made:
        chunks.Linear(hidden, weight, bias).logits(2, 6, room[:, :num_classes])
    right = F.linear(hidden[2:6].double(), weight.double(), None if bias is None else bias.double())
    assert torch.equal(room[:, :num_classes].double(), right)
    assert room[:, num_classes:].isnan().all()
    most = {("AVX2", 1): 512, ("AVX2", 4): 1024}.get((capability, num_threads), num_classes)
    assert sum(made.widths) == num_classes
    assert made.widths[:-1] == [most] * (len(made.widths) - 1)
    assert all(width <= most for width in made.widths)


def test_only_the_cpu_multiplies_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    at_level(monkeypatch, "AVX2", 1)
    hidden, weight, out = (
        torch.empty(*shape, device="meta") for shape in ((2, 3), (2000, 3), (2, 2000))
    )
    with Products() as made:
        chunks.Linear(hidden, weight, None).logits(0, 2, out)
    assert made.widths == [2000]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_only_float32_is_multiplied_in_parts(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_level(monkeypatch, "AVX2", 1)
    hidden, weight = torch.ones(2, 3, dtype=dtype), torch.ones(2000, 3, dtype=dtype)
    with Products() as made:
        out = chunks.Linear(hidden, weight, None).logits(0, 2, torch.empty(2, 2000, dtype=dtype))
    assert made.widths == [2000]
    assert (out == 3).all()


@pytest.mark.parametrize("accum_dtype", ["auto", torch.float32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("num_rows", [0, 5, 9, 23])
def test_what_lay_in_memory_before_is_not_read(
    num_rows: int, dtype: torch.dtype, accum_dtype: Any
) -> None:
    case = problem(num_rows, 4, 50, dtype=dtype, bias=True, ignored=0)
    options = {"reduction": "sum", "chunk_tokens": 5, "accum_dtype": accum_dtype, **RUST}
    torch.use_deterministic_algorithms(True)  # which fills new memory with NaN
    try:
        assert torch.utils.deterministic.fill_uninitialized_memory
        assert torch.empty(3).isnan().all()
        found, exact = both(case, **options)
    finally:
        torch.use_deterministic_algorithms(False)
    for one, right in zip(found, exact, strict=True):
        assert float((one - right).norm()) <= 1e-2 * float(right.norm())


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_the_logits_of_a_batch_never_exist(reduction: str) -> None:
    case = problem(1000, 8, 600, ignored=0)
    leaves = case.leaves()
    with Largest() as made:
        loss = fastft.linear_cross_entropy(
            *leaves, case.labels, chunk_tokens=32, reduction=reduction
        )
        loss.sum().backward()
    assert made.size == 32 * 624  # 600 logits lie on 39 cache lines


def test_float16_keeps_small_gradients_for_a_scaler() -> None:
    case = problem(3000, 4, 900, dtype=torch.float16, ignored=0)
    leaves, exact = case.leaves(), case.leaves(torch.float64)
    loss = fastft.linear_cross_entropy(*leaves, case.labels, accum_dtype=torch.float32)
    right = F.cross_entropy(F.linear(*exact), case.labels)
    found = gradients(loss * 2.0**12, leaves)
    for one, other in zip(found, gradients(right * 2.0**12, exact), strict=True):
        assert float((one - other).norm() / other.norm()) < 3e-3
    leaf = F.linear(case.hidden, case.weight).requires_grad_()
    wide = leaf.detach().double().requires_grad_()
    loss = fastft.cross_entropy(leaf * 1, case.labels, inplace=True)
    (found_logits,) = gradients(loss * 2.0**12, [leaf])
    (wanted,) = gradients(F.cross_entropy(wide, case.labels) * 2.0**12, [wide])
    assert float((found_logits - wanted).norm() / wanted.norm()) < 1e-3
