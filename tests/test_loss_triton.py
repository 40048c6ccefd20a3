"""The Triton kernel against float64: in Triton's interpreter, or on a GPU where there is one."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("triton", reason="triton comes with torch for CUDA, and is not here")

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastft.modeling.losses.reference import row_losses
from fastft.modeling.losses.settings import Settings
from fastft.modeling.losses.targets import Targets
from fastft.modeling.losses.triton_rows import TritonKernel
from tests.losses import OPTIONS, exact_loss, gradients, logits_and_labels, options_for, relative

if TYPE_CHECKING:
    from pathlib import Path

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
HALF = (torch.bfloat16, torch.float16)
# The interpreter cuts bfloat16 off where a GPU rounds it.
ROUNDED = (torch.float32, *HALF) if DEVICE == "cuda" else (torch.float32, torch.float16)

# The interpreter computes in numpy, which tells of NaN where a GPU does not.
pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")


def kernel_and_formula(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    block: int | None = None,
    factor: Any = 1.0,
    in_place: bool = True,
    **options: Any,
) -> tuple[Any, torch.Tensor, torch.Tensor, torch.Tensor]:
    """What the kernel gives, its gradient; loss and gradient in float64."""
    options.pop("denominator", None)
    options["reduction"] = "none"
    exact = logits.double().requires_grad_()
    right = exact_loss(exact, labels, **options)
    (exact_gradient,) = gradients((right * float(factor)).sum(), [exact])
    weights = options.pop("token_weight", None)
    if options.get("class_weight") is not None:
        options["class_weight"] = options["class_weight"].to(DEVICE)
    ours = logits.to(DEVICE, copy=True)
    gradient = ours if in_place else torch.empty_like(ours)
    rows = TritonKernel(Settings(**options), statistics=True, block=block)(
        ours,
        labels.to(DEVICE),
        gradient=gradient,
        row_weight=None if weights is None else weights.to(DEVICE),
        factor=factor.to(DEVICE) if isinstance(factor, torch.Tensor) else factor,
    )
    if not in_place:
        assert torch.equal(ours.cpu(), logits)
    found = type(rows)(*(one.cpu() for one in rows))
    return found, gradient.cpu(), right.detach(), exact_gradient


@pytest.mark.parametrize("block", [None, 16])
@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_of_the_kernel(name: str, block: int | None) -> None:
    logits, labels = logits_and_labels(7, 70, scale=3)
    options = options_for(name, 7, 70)
    rows, gradient, right, exact = kernel_and_formula(
        logits, labels, block=block, factor=torch.tensor(0.5), in_place=block is None, **options
    )
    assert relative(rows.loss, right) < 1e-6
    assert float((gradient - exact).abs().max()) < 3e-7


@pytest.mark.parametrize("num_classes", [1, 2, 3, 17, 129, 1000])
@pytest.mark.parametrize(("scale", "offset"), [(1, 0.0), (20, 1e4), (300, 0.0)])
def test_vocabularies_and_scales(num_classes: int, scale: float, offset: float) -> None:
    logits, labels = logits_and_labels(6, num_classes, scale=scale, offset=offset)
    block = 256 if num_classes == 1000 else None
    rows, gradient, right, exact = kernel_and_formula(logits, labels, block=block)
    assert float((rows.loss - right).abs().max()) <= 1e-6 * float(right.max())
    assert float((gradient - exact).abs().max()) <= 4e-7
    counts = labels != -100
    assert torch.allclose(rows.lse[counts], logits.double().logsumexp(-1)[counts], rtol=1e-6)


@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_is_the_rounded_exact_gradient(dtype: torch.dtype) -> None:
    logits, labels = logits_and_labels(9, 300, scale=3)
    rows, gradient, right, exact = kernel_and_formula(logits.to(dtype), labels, block=128)
    assert gradient.dtype == dtype
    if dtype in ROUNDED:
        assert float((gradient != exact.to(dtype)).double().mean()) < 0.01
    assert torch.allclose(gradient, exact.to(dtype), rtol=2**-7, atol=1e-7)
    assert relative(rows.loss, right) < 1e-6


def test_a_loss_that_is_all_but_0_keeps_its_digits() -> None:
    logits = torch.zeros(5, 40)
    logits[:, 7] = torch.tensor([4.0, 8.0, 12.0, 16.0, 20.0])
    rows, gradient, right, exact = kernel_and_formula(logits, torch.full((5,), 7))
    assert float((rows.loss / right - 1).abs().max()) < 1e-6
    assert float((gradient[:, 7] / exact[:, 7] - 1).abs().max()) < 1e-6


@settings(max_examples=25)
@given(
    num_rows=st.integers(1, 4),
    num_classes=st.integers(1, 70),
    block=st.sampled_from([None, 16, 32]),
    name=st.sampled_from(sorted(OPTIONS)),
    dtype=st.sampled_from([torch.float32, *HALF]),
    gap=st.integers(0, 5),
    scale=st.sampled_from([0.1, 1.0, 30.0]),
    seed=st.integers(0, 10**6),
)
# A gradient of 4.525, which lies in the upper half between two numbers of bfloat16.
@example(2, 4, None, "z-loss", torch.bfloat16, 5, 30.0, 1)
def test_any_rows(
    num_rows: int,
    num_classes: int,
    block: int | None,
    name: str,
    dtype: torch.dtype,
    gap: int,
    scale: float,
    seed: int,
) -> None:
    logits, labels = logits_and_labels(num_rows, num_classes + gap, scale=scale, seed=seed)
    logits, labels = logits.to(dtype)[:, :num_classes], labels.clamp(max=num_classes - 1)
    options = options_for(name, num_rows, num_classes)
    rows, gradient, right, exact = kernel_and_formula(
        logits, labels, block=block, in_place=seed % 2 == 0, **options
    )
    size = 1 + float(right.abs().max())
    assert float((rows.loss - right).abs().max()) < 2e-6 * size
    allowed = {torch.float32: 2e-6, torch.bfloat16: 2**-8, torch.float16: 2**-10}[dtype]
    if dtype not in ROUNDED:
        allowed *= 2
    assert float((gradient - exact).abs().max()) < allowed * (1 + float(exact.abs().max()))


def test_rows_that_lie_apart_leave_what_is_between_alone() -> None:
    whole = torch.full((3, 8), 7.0, device=DEVICE)
    rows = whole[:, 2:6]
    labels = torch.tensor([0, 1, -100], device=DEVICE)
    TritonKernel(Settings())(rows, labels, gradient=rows)
    assert torch.allclose(rows[0].cpu(), torch.tensor([-0.75, 0.25, 0.25, 0.25]))
    assert not rows[2].any()
    assert (whole[:, :2] == 7).all() and (whole[:, 6:] == 7).all()


def test_rows_beyond_32_bits_are_found() -> None:
    # Only the pages of the rows that are looked at become memory.
    whole = torch.empty(2**31 + 64, dtype=torch.bfloat16, device=DEVICE)
    rows = whole.as_strided((3, 33), (2**30, 1))
    logits, labels = logits_and_labels(3, 33)
    rows.copy_(logits)
    labels[:] = torch.tensor([3, -100, 8])
    found = TritonKernel(Settings(), block=16)(rows, labels.to(DEVICE), gradient=rows)
    right = F.cross_entropy(logits.bfloat16().double(), labels, reduction="none")
    assert relative(found.loss.cpu(), right) < 1e-6
    assert float(rows[2].float().sum().abs()) < 0.02


@pytest.mark.parametrize("block", [None, 16])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_infinite_and_undefined_logits_are_as_in_the_plain_way(
    block: int | None, smoothing: float
) -> None:
    logits, labels = logits_and_labels(9, 40)
    inf = float("inf")
    labels[:] = torch.arange(9)
    logits[0, 5:30] = -inf
    logits[1, 1] = -inf
    logits[2] = -inf
    logits[3, 20] = inf
    logits[4, 4] = inf
    logits[5, 30] = float("nan")
    logits[6, 6] = float("nan")
    logits[7] = -1e30
    logits[8, :38] = -inf
    plain = Settings(label_smoothing=smoothing)
    leaf = logits.clone().requires_grad_()
    right = row_losses(leaf, Targets(labels, (9,)), plain, statistics=True)
    (exact,) = gradients(right.loss.sum(), [leaf])
    gradient = logits.to(DEVICE, copy=True)
    found = TritonKernel(plain, statistics=True, block=block)(
        gradient, labels.to(DEVICE), gradient=gradient
    )
    assert torch.allclose(found.loss.cpu().float(), right.loss.detach(), rtol=1e-6, equal_nan=True)
    # With an infinite loss under smoothing nothing of the gradient means anything.
    known = slice(None) if not smoothing else [3, 4, 5, 6, 7]
    assert torch.allclose(gradient.cpu()[known], exact[known], atol=1e-6, equal_nan=True)
    finite = [0, 7]
    for one, other in ((found.lse, right.lse), (found.entropy, right.entropy)):
        assert torch.allclose(one.cpu().float()[finite], other.detach()[finite], rtol=1e-5)


def test_statistics_and_ties() -> None:
    logits, labels = logits_and_labels(30, 20, scale=0.5)
    logits = logits.round()
    rows, _, _, _ = kernel_and_formula(logits, labels, block=16)
    counts = labels != -100
    assert torch.equal(rows.is_correct, (logits.argmax(-1) == labels) & counts)
    softmax = logits.double().softmax(-1)
    entropy = -(softmax * softmax.log()).sum(-1) * counts
    assert torch.allclose(rows.entropy, entropy, rtol=1e-5)


def test_labels_that_are_no_class_make_their_row_undefined() -> None:
    logits, labels = logits_and_labels(5, 40)
    labels[:] = torch.tensor([3, 40, -1, 2**40, 7])
    gradient = logits.to(DEVICE, copy=True)
    found = TritonKernel(Settings(), block=16)(gradient, labels.to(DEVICE), gradient=gradient)
    wrong = torch.tensor([False, True, True, True, False])
    assert torch.equal(found.loss.cpu().isnan(), wrong)
    assert torch.equal(gradient.cpu().isnan().all(1), wrong)
    assert torch.equal(gradient.cpu().isnan().any(1), wrong)


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
def test_scaling_in_place(dtype: torch.dtype) -> None:
    values = torch.randn(9001).to(DEVICE, dtype)
    for factor in (1.0, 0.3, torch.tensor(-2.0, device=DEVICE)):
        found = values.clone()
        TritonKernel(Settings()).scale_(found, factor)
        right = (values.float() * torch.as_tensor(factor).float()).to(dtype)
        assert torch.equal(found, right) or dtype not in ROUNDED
        assert torch.allclose(found, right, rtol=2**-7, atol=0)


COMPILE = """
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

class Hopper:
    get_current_target = staticmethod(lambda: GPUTarget("cuda", 90, 32))
    get_current_device = staticmethod(lambda: 0)
    get_current_stream = staticmethod(lambda device: 0)

driver.set_active(Hopper())
from fastft.modeling.losses import triton_kernel
from fastft.modeling.losses.settings import Settings
from fastft.modeling.losses.triton_rows import TritonKernel

compiled = []
for kernel in (triton_kernel.rows, triton_kernel.scale):
    def run(*arguments, warmup, run=kernel.run, **options):
        compiled.append(run(*arguments, warmup=True, **options).asm["ptx"])
    kernel.run = run

for num_classes, dtype in ((1, torch.float32), (1000, torch.float16), (50257, torch.bfloat16)):
    # As chunks.py has them: rows begin at multiples of 64 logits.
    logits = torch.empty(2, -(-num_classes // 64) * 64, dtype=dtype)[:, :num_classes]
    labels, one = torch.zeros(2, dtype=torch.int64), torch.ones(())
    weights = torch.ones(num_classes)
    every = Settings(label_smoothing=0.1, z_loss=0.1, softcap=3.0, class_weight=weights)
    TritonKernel(every, statistics=True)(
        logits, labels, gradient=torch.empty(2, num_classes, dtype=dtype),
        row_weight=torch.ones(2, dtype=torch.float64), factor=one.double(),
    )
    TritonKernel(Settings(), statistics=True)(logits, labels, factor=0.5)
    TritonKernel(Settings()).scale_(logits[0], one)
    TritonKernel(Settings())(logits, labels, gradient=logits, factor=one)
# The last of them, the usual one, reads and writes 16 bytes at a time.
assert "ld.global.v4" in compiled[-1].replace(".L1::evict_first", "").replace(
    ".L1::evict_last", "").replace(".L2::cache_hint", "")
print(len(compiled), "compiled")
"""


@pytest.mark.slow
def test_the_kernels_compile_for_a_gpu_that_is_not_here(tmp_path: Path) -> None:
    environment = {name: one for name, one in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    command = [sys.executable, "-W", "error", "-c", COMPILE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout == "12 compiled\n", done.stderr
