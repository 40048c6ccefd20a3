"""The product that makes float32 logits on the CPU: the core's against torch's, and the choice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import fastft
from fastft import _fastft
from fastft.modeling.losses import chunks, logits_product
from fastft.modeling.losses.logits_product import core_logits, takes_core
from tests.fused_models import build
from tests.fused_trainers import lm_trainer
from tests.losses import OPTIONS, both, options_for, problem, relative

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def nothing_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logits_product, "_is_faster", None)
    monkeypatch.delenv(logits_product.VARIABLE, raising=False)


@pytest.fixture
def by_core(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Has the core asked for, and counts the rows that it multiplies."""
    monkeypatch.setenv(logits_product.VARIABLE, "core")
    return counted(monkeypatch)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    seen: list[int] = []

    def counting(hidden: torch.Tensor, *others: Any) -> torch.Tensor:
        seen.append(len(hidden))
        return core_logits(hidden, *others)

    monkeypatch.setattr(chunks, "core_logits", counting)
    return seen


def speed(monkeypatch: pytest.MonkeyPatch, times: float) -> list[float]:
    """The core is so many times faster; each measurement is counted."""
    measured: list[float] = []

    def speed_of_core() -> float:
        measured.append(times)
        return times

    monkeypatch.setattr(logits_product, "speed_of_core", speed_of_core)
    monkeypatch.setattr(logits_product, "LARGE", 1000)
    return measured


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 0, 5), (7, 33, 129), (100, 513, 2049)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_it_is_the_product_of_torch_but_for_rounding(
    shape: tuple[int, int, int], with_bias: bool
) -> None:
    num_rows, width, num_classes = shape
    case = problem(num_rows, width, num_classes, bias=with_bias)
    out = torch.full((num_rows, num_classes), torch.nan)
    core_logits(case.hidden, case.weight, case.bias, out)
    exact = torch.nn.functional.linear(
        *(case.hidden.double(), case.weight.double()),
        None if case.bias is None else case.bias.double(),
    )
    # Each sum of products is as right as float32 lets it be.
    bound = case.hidden.double().abs() @ case.weight.double().abs().t() + exact.abs()
    assert ((out - exact).abs() <= 2e-6 * bound).all()


def test_what_is_not_finite_goes_where_it_goes_with_torch() -> None:
    case = problem(40, 300, 1100, bias=True)
    case.hidden[3, 7], case.hidden[5, 299], case.hidden[8, 0] = torch.nan, torch.inf, -torch.inf
    case.weight[1050, 2], case.weight[9, 0] = torch.nan, torch.inf
    case.hidden[11] = 3e38
    found = core_logits(case.hidden, case.weight, case.bias, torch.zeros(40, 1100))
    expected = torch.addmm(case.bias, case.hidden, case.weight.t())
    # 3e38 overflows or not by the order of the sum.
    rows = torch.arange(40) != 11
    torch.testing.assert_close(found[rows], expected[rows], equal_nan=True)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_loss_by_the_core_is_exact(name: str, by_core: list[int]) -> None:
    case = problem(300, 40, 1500, bias=True)
    found, exact = both(case, chunk_tokens=64, **options_for(name, 300, 1500))
    for one, right in zip(found, exact, strict=True):
        assert relative(one, right) < 3e-6
    # Rows without a label are left out here too; a loss for each row multiplies them twice.
    assert by_core[:4] == [64, 64, 64, 33]


def test_chunks_and_threads_leave_the_logits_as_they_are_to_the_bit() -> None:
    case = problem(70, 600, 3000)
    arrays = case.hidden.numpy(), case.weight.numpy()
    whole = np.empty((70, 3000), np.float32)
    _fastft.logits(*arrays, whole)
    for num_threads, size in [(2, 70), (5, 70), (1, 1), (2, 33)]:
        out = np.empty_like(whole)
        for start in range(0, 70, size):
            rows = slice(start, start + size)
            _fastft.logits(arrays[0][rows], arrays[1], out[rows], num_threads=num_threads)
        np.testing.assert_array_equal(out, whole)


@pytest.mark.parametrize(("times", "expected"), [(2.0, True), (1.1, False), (0.5, False)])
def test_it_is_taken_where_it_is_clearly_faster(
    times: float, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured, seen = speed(monkeypatch, times), counted(monkeypatch)
    case = problem(64, 8, 200)
    for _ in range(3):
        both(case)
    assert measured == [times] and bool(seen) is expected
    assert ("faster here" in fastft.fuse_head(build("gpt2")).explain()) is expected


def test_a_small_loss_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = speed(monkeypatch, 2.0)
    both(problem(5, 4, 20))
    assert not measured


def test_the_measurement_is_of_both_products_and_leaves_the_threads_as_they_are() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert 0.01 < logits_product.speed_of_core() < 100
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_the_environment_decides_instead_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    measured, seen = speed(monkeypatch, 2.0), counted(monkeypatch)
    monkeypatch.setenv(logits_product.VARIABLE, "torch")
    both(problem(64, 8, 200))
    assert not measured and not seen
    monkeypatch.setenv(logits_product.VARIABLE, "core")
    both(problem(64, 8, 200))
    assert not measured and seen


def test_the_head_says_who_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    logits_product.keep_choice(True)
    head = fastft.fuse_head(build("gpt2"))
    assert "faster here" in head.explain()
    monkeypatch.setenv(logits_product.VARIABLE, "torch")
    assert "core" not in head.explain()
    logits_product.keep_choice(False)
    monkeypatch.setenv(logits_product.VARIABLE, "core")
    assert "as FASTFT_LOGITS_PRODUCT asks" in head.explain()


def test_another_product_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(logits_product.VARIABLE, "mkl")
    with pytest.raises(fastft.ConfigurationError, match=r"'mkl'\s+expected: torch or core"):
        both(problem(64, 8, 200))


def test_deterministic_algorithms_keep_that_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = speed(monkeypatch, 2.0)
    torch.use_deterministic_algorithms(True)
    try:
        both(problem(64, 8, 200))
    finally:
        torch.use_deterministic_algorithms(False)
    assert not measured


def test_other_types_and_layouts_stay_with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(logits_product.VARIABLE, "core")
    rows, layer = torch.ones(6, 4), torch.ones(8, 4)
    assert takes_core(rows, layer)
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        assert not takes_core(rows.to(dtype), layer.to(dtype))
    assert not takes_core(torch.ones(4, 6).t(), layer)
    assert not takes_core(rows, torch.ones(4, 8).t())


def trained(folder: Path, checkpoint: str | None = None, **options: Any) -> None:
    """Trains a model whose loss is the core's, however small."""
    model = build("llama")
    fastft.fuse_head(model, backend="rust")
    lm_trainer(folder, model=model, **options).train(checkpoint)


def test_a_checkpoint_carries_the_choice_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = speed(monkeypatch, 2.0)
    trained(tmp_path, save_strategy="steps", save_steps=1)
    assert measured == [2.0]
    # In the process that resumes, the clock would choose the other one.
    monkeypatch.setattr(logits_product, "_is_faster", None)
    measured = speed(monkeypatch, 0.5)
    trained(tmp_path, str(tmp_path / "checkpoint-1"), save_strategy="no")
    assert not measured and logits_product.choice() is True


@pytest.mark.parametrize(
    "kept", [None, [], {"attributes": 3}, {"attributes": {"core_is_faster": "yes"}}]
)
def test_a_choice_that_cannot_be_read_is_measured_anew(
    kept: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speed(monkeypatch, 2.0)
    trained(tmp_path, save_strategy="steps", save_steps=1)
    path = tmp_path / "checkpoint-1" / "trainer_state.json"
    state = json.loads(path.read_text())
    state["stateful_callbacks"]["fastft_logits_product"] = kept
    path.write_text(json.dumps(state))
    monkeypatch.setattr(logits_product, "_is_faster", None)
    measured = speed(monkeypatch, 0.5)
    trained(tmp_path, str(tmp_path / "checkpoint-1"), save_strategy="no")
    assert measured == [0.5]


@pytest.mark.parametrize(
    ("shapes", "error"),
    [
        (((3, 4), (5, 3), (3, 5)), "row of weight"),
        (((3, 4), (5, 4), (2, 5)), "out"),
        (((3, 4), (5, 4), (3, 4)), "row of out"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes: Any, error: str) -> None:
    arrays = [np.zeros(shape, np.float32) for shape in shapes]
    with pytest.raises(fastft.DataError, match=error):
        _fastft.logits(*arrays)


def test_arrays_that_cannot_be_written_are_refused() -> None:
    rows, layer = np.ones((3, 4), np.float32), np.ones((5, 4), np.float32)
    overlapping = np.lib.stride_tricks.as_strided(np.zeros(9, np.float32), (3, 5), (4, 4))
    for out in (np.zeros((5, 3), np.float32).T, overlapping):
        with pytest.raises((ValueError, fastft.DataError)):
            _fastft.logits(rows, layer, out)
    locked = np.zeros((3, 5), np.float32)
    locked.flags.writeable = False
    with pytest.raises(TypeError, match="not writeable"):
        _fastft.logits(rows, layer, locked)
    with pytest.raises(fastft.ConfigurationError, match="num_threads"):
        _fastft.logits(rows, layer, np.zeros((3, 5), np.float32), num_threads=0)
