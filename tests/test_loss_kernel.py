"""The raw kernel of the loss, at every level that this processor has; what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import fastft
from fastft import _fastft
from tests.losses import gradients, logits_and_labels, relative


def available(level: str) -> bool:
    try:
        _fastft.cross_entropy(torch.zeros(1, 1).numpy(), torch.zeros(1).long().numpy(), simd=level)
    except fastft.ConfigurationError:
        return False
    return True


LEVELS = [level for level in ("scalar", "avx2", "avx512") if available(level)]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("scale", [1, 20, 300])
@pytest.mark.parametrize("num_classes", [1, 2, 3, 17, 129, 1000, 50257])
def test_every_level_of_the_kernel(
    level: str, num_classes: int, scale: float, offset: float
) -> None:
    logits, labels = logits_and_labels(11, num_classes, scale=scale, offset=offset)
    gradient = logits.clone()
    loss, lse, _, _ = _fastft.cross_entropy(
        gradient.numpy(), labels.numpy(), gradient=gradient.numpy(), simd=level
    )
    exact = logits.double().requires_grad_()
    right = F.cross_entropy(exact, labels, reduction="none")
    (exact_gradient,) = gradients(right.sum(), [exact])
    exact_losses = right.detach()
    assert float((torch.from_numpy(loss) - exact_losses).abs().max()) <= 1e-6 * float(
        exact_losses.max()
    )
    assert float((gradient - exact_gradient).abs().max()) <= 3e-7
    counts = labels != -100
    right_lse = exact.detach().logsumexp(-1)[counts]
    assert torch.allclose(torch.from_numpy(lse)[counts], right_lse, rtol=1e-6)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_the_rounded_exact_gradient(level: str, dtype: torch.dtype) -> None:
    logits, labels = logits_and_labels(16, 1003, scale=3)
    logits = logits.to(dtype)
    exact = logits.double().requires_grad_()
    right = F.cross_entropy(exact, labels, reduction="none")
    (exact_gradient,) = gradients(right.sum(), [exact])
    bits = logits.clone().view(torch.uint16).numpy()
    loss, _, _, _ = _fastft.cross_entropy(
        bits, labels.numpy(), gradient=bits, format=str(dtype).removeprefix("torch."), simd=level
    )
    found = torch.from_numpy(bits).view(dtype)
    # A value beside the middle of two neighbours may go to the other one; those are few.
    assert float((found != exact_gradient.to(dtype)).double().mean()) < 0.01
    assert torch.allclose(found, exact_gradient.to(dtype), rtol=2**-7, atol=1e-7)
    assert relative(torch.from_numpy(loss), right.detach()) < 1e-6


@pytest.mark.parametrize("level", ["scalar", "avx2", "avx512", "sse9"])
def test_the_environment_forces_a_level(level: str) -> None:
    code = "from fastft import _fastft; print(_fastft.simd_level())"
    environment = {**os.environ, "FASTFT_SIMD": level}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    if available(level):
        assert done.stdout == f"{level}\n"
    else:
        assert "this processor has no vector instructions" in done.stderr


def test_an_unknown_level_is_an_error() -> None:
    with pytest.raises(fastft.ConfigurationError, match='no vector instructions "sse9"'):
        _fastft.cross_entropy(torch.zeros(1, 2).numpy(), torch.zeros(1).long().numpy(), simd="sse9")


ROWS, LABELS = np.zeros((3, 4), np.float32), np.array([0, 1, -100])


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("differ in shape", {"gradient": np.zeros((3, 5), np.float32)}),
        ("rows must be contiguous", {"logits": np.zeros((4, 3), np.float32).T}),
        ("rows must be contiguous", {"gradient": np.zeros((4, 3), np.float32).T}),
        ("labels must be contiguous", {"labels": np.zeros(6, np.int64)[::2]}),
        ('no format "float8"', {"format": "float8"}),
        ("labels has 2 entries, 3 belong here", {"labels": LABELS[:2]}),
        ("class_weight has 3 entries, 4 belong here", {"class_weight": np.ones(3)}),
        ("row_weight has 4 entries, 3 belong here", {"row_weight": np.ones(4)}),
        ("label 4 is not among the 4 classes", {"labels": np.array([0, 1, 4])}),
        ("num_threads must be at least 1", {"num_threads": 0}),
        ("begin 0 apart overlap", {"logits": np.broadcast_to(ROWS[:1], (3, 4))}),
        ("out of range integral type", {"logits": ROWS[::-1]}),
    ],
)
def test_what_does_not_fit_is_refused(message: str, changes: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"logits": ROWS, "labels": LABELS, **changes}
    with pytest.raises(Exception, match=message) as caught:
        _fastft.cross_entropy(**arguments)
    assert isinstance(caught.value, (fastft.Error, ValueError, OverflowError))


@pytest.mark.parametrize(
    "changes",
    [
        {"logits": ROWS.astype(np.int32)},
        {"logits": ROWS, "format": "bfloat16"},
        {"logits": ROWS, "gradient": ROWS.astype(np.float64)},
        {"logits": ROWS[0]},
    ],
)
def test_wrong_types_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        _fastft.cross_entropy(labels=LABELS, **changes)


def test_memory_that_may_not_be_written_is_not() -> None:
    fixed = ROWS.copy()
    fixed.flags.writeable = False
    with pytest.raises(Exception, match="not writeable"):
        _fastft.cross_entropy(fixed, LABELS, gradient=fixed)
    whole = np.zeros((3, 8), np.float32)
    with pytest.raises(Exception, match="already"):
        _fastft.cross_entropy(whole[:, :4], LABELS, gradient=whole[:, 2:6])


def test_rows_that_lie_apart_leave_what_is_between_alone() -> None:
    whole = np.full((3, 8), 7, np.float32)
    rows = whole[:, 2:6]
    _fastft.cross_entropy(rows, LABELS, gradient=rows)
    assert np.allclose(rows[0], [-0.75, 0.25, 0.25, 0.25])
    assert not rows[2].any()
    assert (whole[:, :2] == 7).all() and (whole[:, 6:] == 7).all()


def test_a_wrong_label_says_in_which_row_it_stands() -> None:
    with pytest.raises(fastft.LabelError) as caught:
        _fastft.cross_entropy(ROWS, np.array([0, -1, 9]))
    assert caught.value.place == "row 1"
