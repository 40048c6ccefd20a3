"""The loss: the row kernel, and linear + cross entropy, against torch; time and peak memory.

Linear layers have the sizes of GPT-2's and BERT's heads in a full run. The limit of the kernel
reads and writes the logits once; that of the linear loss is the three products that no way can do
without. Losses are held against float64 on the same (rounded) logits. One thread, CPU time; peaks
are resident memory above the inputs, each variant in a process of its own.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from fastft.bench.machine import cpu_features
from fastft.bench.row import Case, Context, Row, SkippedRow, Variant, demand, limit, ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CHUNK = 512
BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")
"""What a processor that multiplies in bfloat16 has one of."""
LEVELS = ("avx512", "avx2", "scalar")
KERNEL: dict[tuple[str, str], dict[str, float]] = {
    ("avx512", "float32"): {"F.cross_entropy": 15, "read and write": 2.2},
    ("avx512", "bfloat16"): {"F.cross_entropy": 15},
    ("avx2", "float32"): {"F.cross_entropy": 9, "read and write": 3.3},
}
"""What is asked of the kernel, by the best vector instructions of the processor and the type."""


@dataclass(frozen=True)
class Shape:
    """A linear layer and its loss; `supervised` is the share of rows that have a label."""

    num_rows: int
    width: int
    num_classes: int
    dtype: str = "float32"
    supervised: float = 1.0


@dataclass(frozen=True)
class Linear:
    """A row of linear + cross entropy: its shapes in a quick and a full run, what was asked."""

    name: str
    title: str
    quick: Shape
    full: Shape
    asked: dict[str, float]


EAGER, CHUNKED, PRODUCTS = "eager torch", "torch linear_cross_entropy", "three products"
FP32 = {EAGER: 1 / 0.9, CHUNKED: 1 / 0.65, PRODUCTS: 1.08}
BF16 = {EAGER: 1 / 0.8, CHUNKED: 1 / 0.2, PRODUCTS: 1.10}
LINEAR = (
    Linear("gpt2", "a head of 768 x 50,257", Shape(512, 192, 8000),
           Shape(2048, 768, 50257), FP32),
    Linear("bert", "a head of 384 x 30,522", Shape(1024, 128, 4000),
           Shape(4096, 384, 30522), FP32),
    Linear("gpt2-bf16", "a head of 768 x 50,257 in bf16", Shape(1100, 64, 4000, "bfloat16"),
           Shape(2048, 768, 50257, "bfloat16"), BF16),
    Linear("bert-bf16", "a head of 384 x 30,522 in bf16", Shape(1100, 64, 2000, "bfloat16"),
           Shape(4096, 384, 30522, "bfloat16"), BF16),
    Linear("supervised", "a head with labels at 20 % of the tokens",
           Shape(512, 64, 4000, supervised=0.2), Shape(2048, 768, 50257, supervised=0.2),
           {EAGER: 4}),
    Linear("classes", "a classification head of 768 x 2", Shape(16, 768, 2), Shape(16, 768, 2),
           {EAGER: 1 / 1.1}),
)  # fmt: skip
VOCABULARIES = (1000, 4000, 16000, 64000, 256000)


def rows() -> list[Row]:
    """The kernel in two types, the linear layers, growth by vocabulary."""
    from fastft import _fastft

    level = _fastft.simd_level()
    kernels = [
        Row(f"loss/kernel/{name}", f"softmax cross entropy and gradient, {name}",
            partial(_kernel_cases, dtype=name), asked=KERNEL.get((level, name), {}))
        for name in ("float32", "bfloat16")
    ]  # fmt: skip
    linear = [
        Row(f"loss/linear/{one.name}", f"linear + cross entropy: {one.title}",
            partial(_linear_cases, wanted=one), asked=one.asked, peak=one.name != "classes",
            repetitions=(3, 5), seconds=(0.05, 0.1))
        for one in LINEAR
    ]  # fmt: skip
    grows = Row("loss/growth/vocabulary", "linear + cross entropy, 256 rows of 64", _grow,
                axis="classes", repetitions=(3, 5), seconds=(0.02, 0.1))  # fmt: skip
    return [*kernels, *linear, grows]


def inputs(shape: Shape) -> tuple[Any, Any, Any]:
    """Hidden states, weight, labels; the same for the same shape."""
    import torch

    torch.manual_seed(0)
    dtype = getattr(torch, shape.dtype)
    hidden = torch.randn(shape.num_rows, shape.width).to(dtype).requires_grad_()
    weight = (torch.randn(shape.num_classes, shape.width) * 0.02).to(dtype).requires_grad_()
    labels = torch.randint(shape.num_classes, (shape.num_rows,))
    labels[torch.rand(shape.num_rows) >= shape.supervised] = -100
    return hidden, weight, labels


def three_products(hidden: Any, weight: Any) -> None:
    """What no way of computing the loss can do without, by chunks in half precision."""
    import torch

    with torch.no_grad():
        num_rows = len(hidden)
        step = num_rows if hidden.dtype == torch.float32 else CHUNK
        room = hidden.new_empty(min(step, num_rows), len(weight))
        gradient, total = torch.empty_like(hidden), torch.zeros_like(weight)
        for start in range(0, num_rows, step):
            part = hidden[start : start + step]
            logits = torch.mm(part, weight.t(), out=room[: len(part)])
            torch.mm(logits, weight, out=gradient[start : start + step])
            total.addmm_(logits.t(), part)


def losses(hidden: Any, weight: Any, labels: Any) -> dict[str, Callable[[], Any]]:
    """The loss in every way that torch and we have."""
    import torch
    import torch.nn.functional as F

    import fastft

    def eager() -> Any:
        return F.cross_entropy(F.linear(hidden, weight).float(), labels)

    found: dict[str, Callable[[], Any]] = {
        "fastft": lambda: fastft.linear_cross_entropy(hidden, weight, labels),
        EAGER: eager,
    }
    if hidden.dtype == torch.bfloat16:
        found["fastft, fp32 sums"] = lambda: fastft.linear_cross_entropy(
            hidden, weight, labels, accum_dtype=torch.float32
        )
    if hasattr(torch.nn, "LinearCrossEntropyOptions"):
        options = torch.nn.LinearCrossEntropyOptions()
        chunked = partial(F.linear_cross_entropy, hidden, weight, labels, options=options)
        found[CHUNKED] = chunked
    return found


def step(loss: Callable[[], Any], *leaves: Any) -> Callable[[], Any]:
    """Forward and backward."""

    def run() -> Any:
        for leaf in leaves:
            leaf.grad = None
        result = loss()
        result.backward()
        return result.detach()

    return run


def linear_case(shape: Shape, *, compiled: bool, at: float | None = None) -> Case:
    """All ways on one shape, checked against float64."""
    import torch
    import torch.nn.functional as F

    hidden, weight, labels = inputs(shape)
    ways = losses(hidden, weight, labels)
    steps = {name: step(loss, hidden, weight) for name, loss in ways.items()}

    def check() -> str:
        exact = F.cross_entropy(F.linear(hidden, weight).detach().double(), labels)
        off = {name: abs(float(run()) / float(exact) - 1) for name, run in steps.items()}
        demand(off["fastft"] < 1e-5, f"the loss is off by {off['fastft']:.1e}")
        others = ", ".join(f"{name} {value:.0e}" for name, value in off.items())
        return f"relative distance of the loss from float64: {others}"

    variants = [
        ours(run, name) if name.startswith("fastft") else Variant(name, run)
        for name, run in steps.items()
    ]
    variants.append(limit(PRODUCTS, lambda: three_products(hidden, weight)))
    case = Case(variants, check, shape.num_rows, "rows", at, warm=lambda: _warm(shape))
    if compiled:
        _add_compiled(case, ways[EAGER], hidden, weight)
    else:
        case.absent["torch.compile"] = "only in a full run: it compiles for a minute"
    if not torch.cuda.is_available():
        reason = "they need a GPU: benches/gpu"
        case.absent["Liger, Apple CCE, QuACK"] = reason
    return case


def _add_compiled(case: Case, eager: Callable[[], Any], hidden: Any, weight: Any) -> None:
    import torch

    if not any(shutil.which(os.environ.get("CXX", name)) for name in ("c++", "g++", "clang++")):
        case.absent["torch.compile"] = "there is no C++ compiler here"
        return
    # A function of its own: torch counts what it compiled by the code that it was made from.
    case.variants.insert(-1, Variant("torch.compile", step(torch.compile(eager), hidden, weight)))


def _warm(shape: Shape) -> None:
    """Every way once, on something tiny: libraries are loaded and pools started."""
    hidden, weight, labels = inputs(Shape(8, shape.width, 64, shape.dtype))
    for loss in losses(hidden, weight, labels).values():
        step(loss, hidden, weight)()


def _linear_cases(context: Context, *, wanted: Linear) -> Iterable[Case]:
    shape = context.pick(wanted.quick, wanted.full)
    features = cpu_features()
    if shape.dtype == "bfloat16" and features and not {*BFLOAT16} & {*features}:
        raise SkippedRow("this processor does not multiply in bfloat16")
    yield linear_case(shape, compiled=context.size == "full")


def _grow(context: Context) -> Iterable[Case]:
    for size in VOCABULARIES[: context.pick(4, 5)]:
        yield linear_case(Shape(256, 64, size), compiled=False, at=size)


def _kernel_cases(context: Context, *, dtype: str) -> Iterable[Case]:
    import torch
    import torch.nn.functional as F

    num_rows, num_classes = context.pick((256, 5000), (1024, 50257))
    torch.manual_seed(0)
    logits = torch.randn(num_rows, num_classes).to(getattr(torch, dtype))
    labels = torch.randint(num_classes, (num_rows,))
    leaf = logits.clone().requires_grad_()
    kernels = {level: kernel(logits, labels, level) for level in LEVELS}
    usable = {level: work for level, work in kernels.items() if work is not None}
    if not usable:
        raise SkippedRow("this processor has none of the kernels")

    def check() -> str:
        exact = F.cross_entropy(logits.double(), labels)
        fresh = kernel(logits, labels, next(iter(usable)))
        found = float(fresh()[0].mean()) if fresh is not None else 0.0
        demand(abs(found / float(exact) - 1) < 1e-5, f"the loss is {found}, not {float(exact)}")
        return "the loss within 1e-5 of float64"

    names = dict(zip(usable, ("fastft", *(f"fastft, {level}" for level in list(usable)[1:])),
                     strict=True))  # fmt: skip
    scratch = logits.clone()
    yield Case(
        [
            *(ours(work, names[level]) for level, work in usable.items()),
            Variant("F.cross_entropy", step(lambda: F.cross_entropy(leaf.float(), labels), leaf)),
            limit("read and write", lambda: scratch.mul_(1.0000001)),
        ],
        check,
        num_rows * num_classes,
        "logits",
        absent={
            level: "this processor has no such kernel" for level in LEVELS if level not in usable
        },
    )


def kernel(logits: Any, labels: Any, level: str) -> Callable[[], Any] | None:
    """The kernel of one level on a copy of the logits, in place; None where it cannot run."""
    import torch

    from fastft import _fastft
    from fastft.errors import ConfigurationError

    half = logits.dtype == torch.bfloat16
    bits = logits.clone()
    array = (bits.view(torch.uint16) if half else bits).numpy()
    numbers = labels.numpy()

    def work() -> Any:
        return _fastft.cross_entropy(
            array, numbers, gradient=array, format="bfloat16" if half else "float32", simd=level
        )

    try:
        _fastft.cross_entropy(
            array[:1].copy(), numbers[:1], format="bfloat16" if half else "float32", simd=level
        )
    except ConfigurationError:
        return None
    return work
