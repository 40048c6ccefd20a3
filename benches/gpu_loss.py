"""The loss on a GPU, checked and timed: `python benches/gpu_loss.py`, first perhaps `--small`.

First what is timed is held against float64, and run where torch raises as soon as anything waits
for the device. Then all variants take turns; times are medians of CUDA events, peaks are memory
above the inputs, gradients included. `--tune` times the row kernel over blocks and warps.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

import fastft
from fastft.modeling.losses.settings import Settings
from fastft.modeling.losses.triton_rows import TritonKernel

if TYPE_CHECKING:
    from collections.abc import Callable

DEVICE = "cuda"
MB = 1e6


@dataclass
class Shape:
    """A linear layer and its loss."""

    num_rows: int
    width: int
    num_classes: int
    dtype: torch.dtype = torch.bfloat16

    def __str__(self) -> str:
        name = str(self.dtype).removeprefix("torch.")
        return f"{self.num_rows}x{self.width}x{self.num_classes} {name}"


LARGE = (Shape(8192, 4096, 128256), Shape(8192, 2304, 256000), Shape(8192, 768, 50257))
SMALL = (Shape(2048, 256, 32000), Shape(2048, 256, 50257))
CHECKED = (
    Shape(700, 128, 5003, torch.float32),
    Shape(700, 128, 5003, torch.bfloat16),
    Shape(700, 128, 5003, torch.float16),
    Shape(5000, 64, 70001, torch.bfloat16),
)
ALLOWED = {torch.float32: 1e-6, torch.bfloat16: 1e-5, torch.float16: 1e-5}
"""How far a loss may be off, relatively, from float64 on the same (rounded) logits."""


def inputs(shape: Shape) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states, weight, labels; every tenth label is ignored."""
    torch.manual_seed(0)
    dtype = shape.dtype
    hidden = torch.randn(shape.num_rows, shape.width, device=DEVICE).to(dtype)
    weight = (torch.randn(shape.num_classes, shape.width, device=DEVICE) * 0.05).to(dtype)
    labels = torch.randint(shape.num_classes, (shape.num_rows,), device=DEVICE)
    labels[::10] = -100
    return hidden.requires_grad_(), weight.requires_grad_(), labels


def exact(
    hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Loss, and gradients of hidden states and weight: softmax in float64, 256 rows at a time."""
    total = torch.zeros((), dtype=torch.float64, device=DEVICE)
    to_hidden, to_weight = [], torch.zeros(weight.shape, dtype=torch.float64, device=DEVICE)
    count = (labels != -100).sum()
    with torch.no_grad():
        wide = weight.double()
        for rows, some in zip(hidden.split(256), labels.split(256), strict=True):
            logits = F.linear(rows, weight).double()
            counts = some != -100
            total += F.cross_entropy(logits, some, reduction="sum")
            slopes = logits.softmax(-1)
            slopes[torch.arange(len(some), device=DEVICE), some.where(counts, 0)] -= 1
            slopes *= (counts / count)[:, None]
            to_hidden.append(slopes @ wide)
            to_weight += slopes.t() @ rows.double()
    return total / count, torch.cat(to_hidden), to_weight


def check(shape: Shape) -> str:
    """Holds loss and gradients against float64."""
    hidden, weight, labels = inputs(shape)
    right = exact(hidden, weight, labels)
    loss = fastft.linear_cross_entropy(hidden, weight, labels, backend="triton")
    found = (loss.detach(), *torch.autograd.grad(loss, (hidden, weight)))
    off = [float((a.double() - b).norm() / b.norm()) for a, b in zip(found, right, strict=True)]
    assert off[0] < ALLOWED[shape.dtype], f"{shape}: the loss is off by {off[0]:.1e}"
    allowed = 1e-5 if shape.dtype == torch.float32 else 4e-3
    assert max(off[1:]) < allowed, f"{shape}: gradients are off by {off[1]:.1e}, {off[2]:.1e}"
    return f"| {shape} | {off[0]:.1e} | {off[1]:.1e} | {off[2]:.1e} |"


def check_waiting(shape: Shape) -> None:
    """Runs forward and backward where torch raises if the host waits for the device."""
    hidden, weight, labels = inputs(shape)
    index = torch.arange(0, shape.num_rows, 3, device=DEVICE)
    some, count = labels[index], torch.tensor(shape.num_rows, device=DEVICE)

    def step() -> None:
        fastft.linear_cross_entropy(hidden, weight, labels).backward()
        fastft.linear_cross_entropy(
            hidden, weight, some, index=index, denominator=count, return_stats=True
        )[0].backward()
        fastft.cross_entropy(F.linear(hidden, weight), labels, inplace=True).backward()

    # The first time kernels are compiled and loaded.
    step()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def three_products(hidden: torch.Tensor, weight: torch.Tensor) -> None:
    """What no way of computing the loss can do without."""
    with torch.no_grad():
        logits = F.linear(hidden, weight)
        torch.mm(logits, weight)
        torch.mm(logits.t(), hidden)


def variants(
    hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor
) -> dict[str, Callable[[], Any]]:
    """One forward and backward each, of those that are installed."""

    def step(loss: Callable[[], torch.Tensor]) -> Callable[[], None]:
        def run() -> None:
            hidden.grad = weight.grad = None
            loss().backward()

        return run

    def ours(**options: Any) -> Callable[[], None]:
        return step(lambda: fastft.linear_cross_entropy(hidden, weight, labels, **options))

    works = {
        "gemms": lambda: three_products(hidden, weight),
        "eager": step(lambda: F.cross_entropy(F.linear(hidden, weight).float(), labels)),
        "ours": ours(backend="triton"),
    }
    if hasattr(torch.nn, "LinearCrossEntropyOptions"):
        works["torch"] = ours(backend="torch_fused")
    try:
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss
    except ImportError:
        pass
    else:
        liger = LigerFusedLinearCrossEntropyLoss()
        works["liger"] = step(lambda: liger(weight, hidden, labels))
    try:
        import quack.linear_cross_entropy  # noqa: F401
    except ImportError:
        pass
    else:
        works["quack"] = ours(backend="quack")
    return works


def in_turn(works: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The median time of each in ms."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 2):
        for name, call in works.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            call()
            end.record()
            torch.cuda.synchronize()
            if number >= 2:
                times[name].append(start.elapsed_time(end))
    return {name: statistics.median(found) for name, found in times.items()}


def peak_mb(call: Callable[[], Any]) -> float:
    """Memory above the inputs."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / MB


def linear_lines(shape: Shape, rounds: int) -> list[str]:
    hidden, weight, labels = inputs(shape)
    works = variants(hidden, weight, labels)
    lines, usable = [], {}
    for name, call in works.items():
        try:
            call()
        except (torch.OutOfMemoryError, fastft.Error, RuntimeError) as error:
            lines.append(f"| {shape} | {name} | {str(error).splitlines()[0]} | | |")
        else:
            usable[name] = call
    times = in_turn(usable, rounds)
    for name, found in times.items():
        # Those of the variant before are no part of the inputs.
        hidden.grad = weight.grad = None
        ratio = "" if name == "ours" else f"{times['ours'] / found:.2f}"
        lines.append(f"| {shape} | {name} | {found:.2f} | {ratio} | {peak_mb(usable[name]):.0f} |")
    return lines


def kernel_lines(
    num_rows: int, num_classes: int, rounds: int, sizes: list[tuple[int | None, int | None]]
) -> list[str]:
    """The row kernel in place beside reading and writing the same memory."""
    width = -(-num_classes // 64) * 64
    logits = torch.randn(num_rows, width, device=DEVICE).bfloat16()[:, :num_classes]
    labels = torch.randint(num_classes, (num_rows,), device=DEVICE)
    works: dict[str, Callable[[], Any]] = {"read and write": lambda: logits.mul_(1.0)}
    for block, num_warps in sizes:
        kernel = TritonKernel(Settings(), block=block, num_warps=num_warps)
        name = "kernel" if block is None else f"kernel, blocks of {block}, {num_warps} warps"
        works[name] = lambda kernel=kernel: kernel(logits, labels, gradient=logits)
    times = in_turn(works, rounds)
    base = times["read and write"]
    return [
        f"| {num_rows}x{num_classes} bf16 | {name} | {found:.3f} | {found / base:.2f} |"
        for name, found in times.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--tune", action="store_true", help="blocks and warps of the row kernel")
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA here: there is nothing to time")
        return
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}\n")
    print("| against float64 | loss | gradient of hidden | of weight |\n|---|---|---|---|")
    print("\n".join(check(shape) for shape in CHECKED))
    check_waiting(CHECKED[-1])
    print("\nnothing waits for the device\n")
    sizes: list[tuple[int | None, int | None]] = [(None, None)]
    if arguments.tune:
        sizes += [(block, warps) for block in (2048, 4096, 8192, 16384) for warps in (4, 8, 16, 32)]
    print("| logits | work | ms | to read+write |\n|---|---|---|---|")
    for size in ((2048, 32000),) if arguments.small else ((2048, 128256), (4096, 50257)):
        print("\n".join(kernel_lines(*size, arguments.rounds, sizes)))
    print("\n| shape | work | ms | ours to it | peak MB |\n|---|---|---|---|---|")
    for shape in SMALL if arguments.small else LARGE:
        print("\n".join(linear_lines(shape, arguments.rounds)))


if __name__ == "__main__":
    main()
