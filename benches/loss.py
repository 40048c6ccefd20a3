"""The loss against torch, as a table: `python benches/loss.py`, `--small` to see that it works.

CPU time of one thread, medians; all variants of a row take turns in one process, so that a busy
machine is busy for all of them. Peaks are resident memory above the inputs, each variant in a
process of its own. What is timed is checked first.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F

import fastft
from fastft import _fastft

if TYPE_CHECKING:
    from collections.abc import Callable

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
CHUNK = 512


@dataclass
class Shape:
    """A linear layer and its loss; `supervised` is the share of rows that have a label."""

    num_rows: int
    width: int
    num_classes: int
    dtype: str = "fp32"
    supervised: float = 1.0
    variants: tuple[str, ...] = field(default=("gemms", "eager", "torch chunked", "ours"))

    def __str__(self) -> str:
        share = "" if self.supervised == 1 else f", {100 * self.supervised:.0f} % supervised"
        return f"{self.num_rows}x{self.width}x{self.num_classes} {self.dtype}{share}"


LOW = ("gemms", "eager", "torch chunked", "ours", "ours, fp32 sums")
LARGE = (
    Shape(2048, 768, 50257),
    Shape(4096, 384, 30522),
    Shape(2048, 768, 50257, supervised=0.2, variants=("eager", "torch chunked", "ours")),
    Shape(2048, 768, 50257, "bf16", variants=LOW),
    Shape(4096, 384, 30522, "bf16", variants=LOW),
)
SMALL = (
    Shape(512, 64, 4000),
    Shape(512, 64, 4000, supervised=0.2, variants=("eager", "torch chunked", "ours")),
    Shape(1100, 64, 4000, "bf16", variants=LOW),
)
HEAD = Shape(16, 768, 2, variants=("eager", "torch chunked", "ours"))


def inputs(shape: Shape) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    dtype = DTYPES[shape.dtype]
    hidden = torch.randn(shape.num_rows, shape.width).to(dtype).requires_grad_()
    weight = (torch.randn(shape.num_classes, shape.width) * 0.02).to(dtype).requires_grad_()
    labels = torch.randint(shape.num_classes, (shape.num_rows,))
    labels[torch.rand(shape.num_rows) >= shape.supervised] = -100
    return hidden, weight, labels


def three_products(hidden: torch.Tensor, weight: torch.Tensor) -> None:
    """What no way of computing the loss can do without, by chunks in half precision."""
    with torch.no_grad():
        num_rows = len(hidden)
        step = num_rows if hidden.dtype == torch.float32 else CHUNK
        room = hidden.new_empty(min(step, num_rows), len(weight))
        gradient, total = torch.empty_like(hidden), torch.zeros_like(weight)
        for start in range(0, num_rows, step):
            rows = hidden[start : start + step]
            logits = torch.mm(rows, weight.t(), out=room[: len(rows)])
            torch.mm(logits, weight, out=gradient[start : start + step])
            total.addmm_(logits.t(), rows)


def work(shape: Shape, variant: str) -> Callable[[], Any]:
    """One forward and backward."""
    hidden, weight, labels = inputs(shape)

    def loss() -> Any:
        match variant:
            case "eager":
                return F.cross_entropy(F.linear(hidden, weight).float(), labels)
            case "torch chunked":
                options = torch.nn.LinearCrossEntropyOptions()
                return F.linear_cross_entropy(hidden, weight, labels, options=options)
            case "ours":
                return fastft.linear_cross_entropy(hidden, weight, labels)
            case "ours, fp32 sums":
                sums = torch.float32
                return fastft.linear_cross_entropy(hidden, weight, labels, accum_dtype=sums)
        raise ValueError(variant)

    def step() -> Any:
        hidden.grad = weight.grad = None
        result = loss()
        result.backward()
        return result.detach()

    return (lambda: three_products(hidden, weight)) if variant == "gemms" else step


def in_turn(works: dict[str, Callable[[], Any]], rounds: int, calls: int = 1) -> dict[str, float]:
    """The median CPU time of each, in seconds a call."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, call in works.items():
            start = time.process_time()
            for _ in range(calls):
                call()
            times[name].append((time.process_time() - start) / calls)
    return {name: statistics.median(found) for name, found in times.items()}


def available(shape: Shape) -> list[str]:
    has_chunked = hasattr(torch.nn, "LinearCrossEntropyOptions")
    return [name for name in shape.variants if has_chunked or name != "torch chunked"]


def check(shape: Shape, works: dict[str, Callable[[], Any]]) -> None:
    """Ours is right where float64 is: the loss of the same (rounded) logits."""
    hidden, weight, labels = inputs(shape)
    exact = F.cross_entropy(F.linear(hidden, weight).detach().double(), labels)
    off = abs(float(works["ours"]()) / float(exact) - 1)
    assert off < 1e-5, f"the loss is off by {off:.1e}"


def linear_lines(shape: Shape, rounds: int) -> list[str]:
    works = {name: work(shape, name) for name in available(shape)}
    check(shape, works)
    seconds = in_turn(works, rounds)
    peaks = {name: peak_mb(shape, name) for name in works}
    lines = []
    for name, found in seconds.items():
        ratios = [f"{seconds['ours'] / found:.2f}" if name != "ours" else ""]
        lines.append(f"| {shape} | {name} | {found:.3f} | {ratios[0]} | {peaks[name]:.0f} |")
    return lines


def peak_mb(shape: Shape, variant: str) -> float:
    """Resident memory above the inputs, of a process that does this once."""
    command = [sys.executable, __file__, "--peak", json.dumps({**vars(shape), "variant": variant})]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def print_peak(description: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    variant = description.pop("variant")
    description["variants"] = ()
    shape = Shape(**description)
    tiny = Shape(8, shape.width, 64, shape.dtype)
    if variant != "gemms":
        # Libraries are loaded and pools started before anything is counted.
        work(tiny, variant)()
    call = work(shape, variant)
    # The high-water mark begins anew here.
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_kb("VmRSS")
    call()
    print((resident_kb("VmHWM") - before) / 1e3)


def resident_kb(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def kernel_lines(num_rows: int, num_classes: int, rounds: int) -> list[str]:
    torch.manual_seed(0)
    logits, labels = torch.randn(num_rows, num_classes), torch.randint(num_classes, (num_rows,))
    leaf = logits.clone().requires_grad_()
    half = logits.bfloat16().requires_grad_()

    def eager(leaf: torch.Tensor) -> None:
        leaf.grad = None
        F.cross_entropy(leaf.float(), labels).backward()

    works: dict[str, Callable[[], Any]] = {
        "read and write": lambda: logits.mul_(1.0000001),
        "F.cross_entropy fp32": lambda: eager(leaf),
        "F.cross_entropy bf16 as fp32": lambda: eager(half),
    }
    for level in ("avx512", "avx2", "scalar"):
        for name, dtype in DTYPES.items():
            bits = logits.to(dtype).clone()
            call = kernel(bits.view(torch.uint16) if dtype == torch.bfloat16 else bits, labels)
            try:
                call(level)
            except fastft.ConfigurationError:
                continue
            works[f"kernel {name} {level}"] = lambda call=call, level=level: call(level)
    seconds = in_turn(works, rounds)
    count, base = num_rows * num_classes, seconds["read and write"]
    return [
        f"| {num_rows}x{num_classes} | {name} | {1e9 * found / count:.3f} | {found / base:.2f} | "
        f"{seconds['F.cross_entropy fp32'] / found:.1f} |"
        for name, found in seconds.items()
    ]


def kernel(bits: torch.Tensor, labels: torch.Tensor) -> Callable[[str], Any]:
    array = bits.numpy()
    name = "bfloat16" if bits.dtype == torch.uint16 else "float32"
    return lambda level: _fastft.cross_entropy(
        array, labels.numpy(), gradient=array, format=name, simd=level
    )


def head_lines(rounds: int) -> list[str]:
    works = {name: work(HEAD, name) for name in available(HEAD)}
    seconds = in_turn(works, rounds, calls=200)
    return [
        f"| {HEAD} | {name} | {1e6 * found:.1f} | {found / seconds['eager']:.2f} |"
        for name, found in seconds.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.peak:
        print_peak(arguments.peak)
        return
    print(f"torch {torch.__version__}, one thread, SIMD {_fastft.simd_level()}\n")
    print(
        "| logits | work | ns a logit | to read+write | torch fp32 to it |\n|---|---|---|---|---|"
    )
    size = (256, 5000) if arguments.small else (1024, 50257)
    print("\n".join(kernel_lines(*size, arguments.rounds)))
    print("\n| shape | work | CPU s | ours to it | peak MB |\n|---|---|---|---|---|")
    for shape in SMALL if arguments.small else LARGE:
        print("\n".join(linear_lines(shape, arguments.rounds)))
    print("\n| shape | work | CPU us | to eager |\n|---|---|---|---|")
    print("\n".join(head_lines(arguments.rounds)))


if __name__ == "__main__":
    main()
