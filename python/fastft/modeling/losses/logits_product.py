"""Which product makes float32 logits on the CPU: that of torch, or that of the core.

Few rows times a layer of many classes is where MKL, which multiplies for torch, loses about a third
of its speed on AMD processors. The core's product does not, but is slower on those of Intel. Both
are timed once, when the first large loss is computed; the core's is taken where it is clearly
faster. The two sum in another order, so logits differ in their last bits:
`FASTFT_LOGITS_PRODUCT=torch` or `core` decides instead of the clock,
`torch.use_deterministic_algorithms(True)` keeps that of torch, and a checkpoint carries the choice
over to the process that resumes it (`training/carried_choice.py`).
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import torch

from fastft import _fastft
from fastft.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

VARIABLE = "FASTFT_LOGITS_PRODUCT"
PRODUCTS = ("torch", "core")
LARGE = 1 << 30
"""Multiplications of a loss from which it is worth to know which product is faster."""
CLEARLY_FASTER = 1.15
"""How many times faster the core has to be: what is close would change with the noise."""
ROUNDS = 5
TIMED_SHAPE = (256, 512, 4096)
"""Rows, width and classes of the products that are timed: 10 ms each on a core."""
FINE_CLOCK = 1e-4
"""Seconds between two ticks of a clock that can tell such products apart."""

# Whether the core's product is clearly faster on this processor; None until it was measured.
_is_faster: bool | None = None


def takes_core(hidden: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether the core multiplies rows (M, H) by a layer (V, H).

    Raises:
        ConfigurationError: `FASTFT_LOGITS_PRODUCT` names no product.
    """
    asked = _asked()
    if asked == "torch" or not (
        hidden.is_cpu
        and hidden.dtype == weight.dtype == torch.float32
        and hidden.is_contiguous()
        and weight.is_contiguous()
    ):
        return False
    if asked == "core":
        return True
    if torch.are_deterministic_algorithms_enabled():
        return False
    return hidden.numel() * len(weight) >= LARGE and core_is_faster()


def core_is_faster() -> bool:
    """Whether the core's product is clearly faster; measured when it is first asked for."""
    if _is_faster is None:
        keep_choice(speed_of_core() >= CLEARLY_FASTER)
    return bool(_is_faster)


def choice() -> bool | None:
    """Whether the core's product is taken for large losses; None where nothing was measured yet."""
    return _is_faster


def why_core() -> str | None:
    """Why the core multiplies large losses; None where torch does, or nothing was measured yet."""
    asked = _asked()
    if asked == "core":
        return f"as {VARIABLE} asks"
    if asked == "torch" or torch.are_deterministic_algorithms_enabled() or not _is_faster:
        return None
    return "which is faster here than torch's"


def keep_choice(is_faster: bool | None) -> None:
    """Takes what `choice` gave in another process for measured."""
    global _is_faster
    _is_faster = is_faster


def speed_of_core() -> float:
    """How many times faster the core multiplies than torch on one thread, which nothing delays.

    The best of interleaved rounds. Threads would wait for each other where other programs run.
    """
    num_rows, width, num_classes = TIMED_SHAPE
    hidden, weight = torch.ones(num_rows, width), torch.ones(num_classes, width)
    out = torch.empty(num_rows, num_classes)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = [
            (
                _seconds(lambda: torch.mm(hidden, weight.t(), out=out)),
                _seconds(lambda: core_logits(hidden, weight, None, out)),
            )
            for _ in range(ROUNDS)
        ]
    finally:
        torch.set_num_threads(num_threads)
    by_torch, by_core = (min(one) for one in zip(*times, strict=True))
    return float(by_torch / by_core)


def core_logits(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, out: torch.Tensor
) -> torch.Tensor:
    """Writes the logits of rows (M, H), float32, to `out` (M, V), and gives it back."""
    _fastft.logits(
        *(hidden.numpy(), weight.numpy(), out.numpy()),
        bias=None if bias is None else bias.numpy(),
        num_threads=torch.get_num_threads(),
    )
    return out


def _asked() -> str | None:
    asked = os.environ.get(VARIABLE)
    if asked is None or asked in PRODUCTS:
        return asked
    raise ConfigurationError(
        "the product of logits is not known",
        place=f"environment variable {VARIABLE}",
        found=repr(asked),
        expected=" or ".join(PRODUCTS),
        fix="name one of them, or leave the variable out: then the faster one is taken",
    )


def _seconds(work: Callable[[], object]) -> float:
    """The time of a piece of work: of this thread alone, where the system counts it finely."""
    is_fine = time.get_clock_info("thread_time").resolution < FINE_CLOCK
    clock = time.thread_time if is_fine else time.perf_counter
    start = clock()
    work()
    return clock() - start
