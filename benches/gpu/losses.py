"""The loss on a GPU: linear + cross entropy in every way there is, and the row kernel alone.

A row is timed after three checks: its loss against float64 on the same (rounded) logits, both
gradients against float64 on a small shape of its dtype, and a step in which torch raises as soon
as anything waits for the device. The limits are the three products, and reading and writing the
logits once.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from benches.gpu.device import usable

import fastft
from fastft.bench.row import Case, Row, Variant, absent, demand, limit, ours
from fastft.bench.rows.loss import CHUNKED, EAGER, PRODUCTS, Shape, step
from fastft.bench.rows.loss import kernel as cpu_kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from benches.gpu.device import Device

    from fastft.bench.row import Context

SHAPES = {
    "llama-3": Shape(8192, 4096, 128256, "bfloat16"),
    "gemma-2": Shape(8192, 2304, 256000, "bfloat16"),
    "gpt2": Shape(8192, 768, 50257, "bfloat16"),
}
KERNELS = {"llama-3": (2048, 128256), "gpt2": (4096, 50257)}
TINY, CHECKED = Shape(96, 32, 503, "bfloat16"), Shape(700, 128, 5003, "bfloat16")
SEVERAL = 64
"""Rows of a chunk with which the checks, smaller than what is timed, have several chunks too."""
BLOCKS, WARPS = (2048, 4096, 8192, 16384), (4, 8, 16, 32)
PEERS = {
    "Liger": ("liger_kernel", "liger-kernel"),
    "Apple CCE": ("cut_cross_entropy", "cut-cross-entropy"),
    "QuACK": ("quack", "quack-kernels"),
}


def rows(device: Device, *, tune: bool = False) -> list[Row]:
    """A row for each head, and for the kernel on each size of logits."""
    settings: dict[str, Any] = {
        "clock": "wall", "threads": None, "repetitions": device.pick((1, 1), (3, 7)),
        "seconds": (0, 0.2),
    }  # fmt: skip
    shapes = {name: device.pick(TINY, one) for name, one in SHAPES.items()}
    sizes = {name: device.pick((64, 503), one) for name, one in KERNELS.items()}
    heads = [
        Row(f"loss/gpu/{name}", f"linear + cross entropy: {one.num_rows:,} rows, a head of "
            f"{one.width:,} x {one.num_classes:,} in bf16",
            partial(_linear, device=device, shape=one), **settings)
        for name, one in shapes.items()
    ]  # fmt: skip
    kernels = [
        Row(f"loss/gpu/kernel/{name}", f"the kernel on {size[0]:,} x {size[1]:,} logits in bf16",
            partial(_kernel, device=device, size=size, tune=tune),
            asked={"read and write": 1.5}, **settings)
        for name, size in sizes.items()
    ]  # fmt: skip
    return [*heads, *kernels]


def inputs(shape: Shape, device: Device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states, weight, labels; every tenth label is ignored."""
    torch.manual_seed(0)
    dtype, where = getattr(torch, shape.dtype), {"device": device.name}
    hidden = torch.randn(shape.num_rows, shape.width, **where).to(dtype)
    weight = (torch.randn(shape.num_classes, shape.width, **where) * 0.05).to(dtype)
    labels = torch.randint(shape.num_classes, (shape.num_rows,), **where)
    labels[::10] = -100
    return hidden.requires_grad_(), weight.requires_grad_(), labels


def exact_loss(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> float:
    """The loss in float64 on the same logits, 256 rows at a time."""
    total = torch.zeros((), dtype=torch.float64, device=hidden.device)
    with torch.no_grad():
        for part, some in zip(hidden.split(256), labels.split(256), strict=True):
            total += F.cross_entropy(F.linear(part, weight).double(), some, reduction="sum")
    return float(total / (labels != -100).sum())


def exact_gradients(
    hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of hidden states and weight: the softmax of the same logits in float64."""
    counts = labels != -100
    with torch.no_grad():
        slopes = F.linear(hidden, weight).double().softmax(-1)
        slopes[torch.arange(len(labels), device=labels.device), labels.where(counts, 0)] -= 1
        slopes *= (counts / counts.sum())[:, None]
        return slopes @ weight.double(), slopes.t() @ hidden.double()


def check_gradients(device: Device) -> str:
    """Holds both gradients against float64, in three dtypes; in one chunk, and in several sums."""
    worst = []
    for dtype, chunk_tokens in product(("float32", "bfloat16", "float16"), (None, SEVERAL)):
        shape = replace(device.pick(TINY, CHECKED), dtype=dtype)
        hidden, weight, labels = inputs(shape, device)
        loss = fastft.linear_cross_entropy(hidden, weight, labels, chunk_tokens=chunk_tokens)
        found = torch.autograd.grad(loss, (hidden, weight))
        right = exact_gradients(hidden, weight, labels)
        off = [float((a.double() - b).norm() / b.norm()) for a, b in zip(found, right, strict=True)]
        allowed = 1e-5 if dtype == "float32" else 4e-3
        demand(max(off) < allowed, f"gradients in {dtype} are off by {off[0]:.1e}, {off[1]:.1e}")
        worst.append(f"{dtype} {max(off):.0e}" + (" in chunks" if chunk_tokens else ""))
    return ", ".join(worst)


def check_waiting(device: Device) -> None:
    """Runs forward and backward where torch raises if the host waits for the device."""
    hidden, weight, labels = inputs(device.pick(TINY, CHECKED), device)
    index = torch.arange(0, len(hidden), 3, device=device.name)
    some, count = labels[index], torch.tensor(len(hidden), device=device.name)

    def step() -> None:
        fastft.linear_cross_entropy(hidden, weight, labels, chunk_tokens=SEVERAL).backward()
        fastft.linear_cross_entropy(
            hidden, weight, some, index=index, denominator=count, return_stats=True
        )[0].backward()
        fastft.cross_entropy(F.linear(hidden, weight), labels, inplace=True).backward()

    # The first time kernels are compiled and loaded.
    step()
    if not device.is_gpu:
        return
    device.wait()
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


def losses(
    hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor
) -> tuple[dict[str, Callable[[], torch.Tensor]], dict[str, str]]:
    """Every way of computing the loss that is installed, and why others are not here."""
    own = partial(fastft.linear_cross_entropy, hidden, weight, labels)
    missing = {name: reason for name, words in PEERS.items() if (reason := absent(*words))}

    def eager() -> torch.Tensor:
        return F.cross_entropy(F.linear(hidden, weight).float(), labels)

    found: dict[str, Callable[[], Any]] = {"fastft": own, EAGER: eager}
    if hidden.is_cuda:
        found["torch.compile"] = torch.compile(eager, dynamic=False)
    else:
        missing["torch.compile"] = "on a GPU only: the suite on a CPU has it"
    if hasattr(torch.nn, "LinearCrossEntropyOptions"):
        options = torch.nn.LinearCrossEntropyOptions()
        found[CHUNKED] = partial(F.linear_cross_entropy, hidden, weight, labels, options=options)
    else:
        missing[CHUNKED] = f"torch {torch.__version__} has none"
    if "Liger" not in missing:
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

        liger = LigerFusedLinearCrossEntropyLoss()
        found["Liger"] = lambda: liger(weight, hidden, labels)
    if "Apple CCE" not in missing:
        from cut_cross_entropy import linear_cross_entropy

        found["Apple CCE"] = partial(linear_cross_entropy, hidden, weight, labels)
    if "QuACK" not in missing:
        found["QuACK"] = partial(own, backend="quack")
    return found, missing


def _linear(context: Context, *, device: Device, shape: Shape) -> Iterable[Case]:
    hidden, weight, labels = inputs(shape, device)
    found, missing = losses(hidden, weight, labels)
    works, failed = usable({name: step(loss, hidden, weight) for name, loss in found.items()})
    demand("fastft" in works, failed.get("fastft", ""))

    def check() -> str:
        exact = exact_loss(hidden, weight, labels)
        off = {name: abs(float(work()) / exact - 1) for name, work in works.items()}
        demand(off["fastft"] < 1e-5, f"the loss is off by {off['fastft']:.1e}")
        gradients = check_gradients(device)
        check_waiting(device)
        others = ", ".join(f"{name} {value:.0e}" for name, value in off.items())
        return f"distance from float64: loss: {others}; our gradients: {gradients}; no waiting"

    def variant(name: str, work: Callable[[], Any]) -> Variant:
        role: Any = "ours" if name == "fastft" else "peer"
        note = partial(_peak, device=device, work=work, leaves=(hidden, weight))
        return Variant(name, work, role, note=note)

    variants = [variant(name, work) for name, work in works.items()]
    variants.append(limit(PRODUCTS, partial(three_products, hidden, weight)))
    yield Case(variants, check, shape.num_rows, "rows", absent={**missing, **failed})


def _peak(_: Any, *, device: Device, work: Callable[[], Any], leaves: Any) -> dict[str, Any]:
    return device.peak(work, *leaves)


def _kernel(
    context: Context, *, device: Device, size: tuple[int, int], tune: bool
) -> Iterable[Case]:
    """The kernel in place on bf16, rows as far apart as fused losses lay them."""
    num_rows, num_classes = size
    torch.manual_seed(0)
    room = torch.randn(num_rows, -(-num_classes // 64) * 64, device=device.name).bfloat16()
    logits = room[:, :num_classes]
    labels = torch.randint(num_classes, (num_rows,), device=device.name)
    exact = F.cross_entropy(logits.double(), labels)
    scratch = logits.clone()
    works = kernels(device, logits, labels, tune=tune)

    def check() -> str:
        found = float(torch.as_tensor(works["fastft"]()[0]).double().mean())
        demand(abs(found / float(exact) - 1) < 1e-5, f"the loss is {found}, not {float(exact)}")
        return "the loss within 1e-5 of float64"

    yield Case(
        [
            *(ours(work, name) for name, work in works.items()),
            limit("read and write", lambda: scratch.mul_(1.0)),
        ],
        check,
        num_rows * num_classes,
        "logits",
    )


def kernels(
    device: Device, logits: torch.Tensor, labels: torch.Tensor, *, tune: bool
) -> dict[str, Callable[[], Any]]:
    """The kernel as it is, and with other blocks and warps; on a CPU that of Rust."""
    if not device.is_gpu:
        found = {level: cpu_kernel(logits, labels, level) for level in ("avx512", "avx2", "scalar")}
        return {"fastft": next(work for work in found.values() if work is not None)}
    from fastft.modeling.losses.settings import Settings
    from fastft.modeling.losses.triton_rows import TritonKernel

    def work(**options: int) -> Callable[[], Any]:
        return partial(TritonKernel(Settings(), **options), logits, labels, gradient=logits)

    works = {"fastft": work()}
    if tune:
        for block in BLOCKS:
            for warps in WARPS:
                name = f"fastft, blocks of {block:,}, {warps} warps"
                works[name] = work(block=block, num_warps=warps)
    return works
