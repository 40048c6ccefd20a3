"""Which way a loss is computed, and what all ways share on their way through autograd."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from fastft.errors import ConfigurationError
from fastft.modeling.losses.kernel import FORMATS, is_plain
from fastft.modeling.losses.settings import SMALL, Stats

if TYPE_CHECKING:
    from fastft.modeling.losses.reference import Rows
    from fastft.modeling.losses.settings import Settings
    from fastft.modeling.losses.targets import Targets

BACKENDS = ("auto", "rust", "torch")


def runs_rust(
    backend: str, num_logits: int, dtype: torch.dtype, *tensors: torch.Tensor | None
) -> bool:
    """Whether the Rust kernel computes a loss of so many logits of this type.

    Raises:
        ConfigurationError: It was asked for and cannot, or nobody knows the backend.
    """
    if backend not in BACKENDS:
        expected = f"one of {', '.join(BACKENDS)}"
        raise wrong("backend", repr(backend), expected)
    if backend == "torch" or torch.compiler.is_compiling():
        return False
    fits = dtype in FORMATS and is_plain(*tensors)
    if backend == "rust" and not fits:
        found = f"{dtype} on {', '.join(sorted({t.device.type for t in tensors if t is not None}))}"
        raise wrong("backend", found, f"ordinary tensors on the CPU, {', '.join(FORMATS.values())}")
    return fits and (backend == "rust" or num_logits >= SMALL)


def small_mean(logits: torch.Tensor, labels: torch.Tensor, ignore_index: int) -> Any:
    """The mean by torch alone; None where it is NaN or torch refuses, which others look into."""
    try:
        loss = F.cross_entropy(logits, labels, ignore_index=ignore_index)
    except (IndexError, RuntimeError, ValueError):
        return None
    return None if math.isnan(loss.item()) else loss


def finished(
    losses: torch.Tensor, targets: Targets, settings: Settings, divisor: float, dtype: torch.dtype
) -> torch.Tensor:
    """The losses of rows, float64 (M,), reduced; float64 for logits of that type, else float32."""
    dtype = torch.float64 if dtype == torch.float64 else torch.float32
    if settings.reduction == "none":
        return targets.spread(losses.to(dtype))
    return (losses.sum() / divisor).to(dtype)


def divisor_of(targets: Targets, settings: Settings) -> float:
    """`Settings.divisor` as a number.

    Raises:
        ConfigurationError: A denominator of 0 for labels that count.
    """
    divisor = float(settings.divisor(targets.labels, targets.token_weight))
    if divisor:
        return divisor
    if (targets.labels != settings.ignore_index).any():
        raise wrong("denominator", "0", "the number of labels that count in the whole step")
    return 1.0


def split_divisor(divisor: float, dtype: torch.dtype) -> tuple[float, float]:
    """What gradients are multiplied by when they are made, and divided by in backward.

    In float16 a mean over many tokens would lose small gradients before a `GradScaler` has had its
    chance, so there the division waits.
    """
    return (1.0, divisor) if dtype == torch.float16 else (1 / divisor, 1.0)


def upstream(
    grad: torch.Tensor, weight: torch.Tensor | None, settings: Settings, divisor: float
) -> tuple[torch.Tensor | None, float]:
    """What the gradient of each row, and of all, is multiplied by for a gradient of the loss.

    With reduction "none" `grad` is (M,), else ().
    """
    if settings.reduction != "none":
        return weight, float(grad) / divisor
    return (grad if weight is None else grad * weight), 1.0


def once(ctx: Any, name: str) -> Any:
    """Takes what a graph holds for one backward.

    Raises:
        ConfigurationError: Somebody took it before, or wants the gradient of the gradient.
    """
    taken = getattr(ctx, name)
    setattr(ctx, name, None)
    if taken is None or torch.is_grad_enabled():
        raise ConfigurationError(
            "this loss has its gradients ready for one backward",
            found="a second backward" if taken is None else "backward with create_graph=True",
            fix="compute the loss again, or use backend='torch', which keeps its logits",
        )
    return taken


def stats_of(rows: Rows, targets: Targets, ignore_index: int) -> Stats:
    """The statistics of rows, each with a label of `targets`."""
    counts = targets.labels != ignore_index
    # Where there were no rows at all nothing was looked at.
    none = torch.zeros(len(counts), device=counts.device)
    lse, entropy, is_correct = (none if one is None else one for one in rows[1:])
    return Stats(
        lse=targets.spread(lse.float()),
        n_correct=is_correct.sum(dtype=torch.int64),
        entropy_sum=entropy.sum().float(),
        n_tokens=counts.sum(),
    )


def check_weights(class_weight: torch.Tensor | None, num_classes: int) -> None:
    """Looks whether there is a weight for each class.

    Raises:
        ConfigurationError: There is not.
    """
    if class_weight is not None and class_weight.shape != (num_classes,):
        found = f"the shape {tuple(class_weight.shape)}"
        raise wrong("class_weight", found, f"({num_classes},), a weight for each class")


def wrong(name: str, found: str, expected: str) -> ConfigurationError:
    """The error for an argument."""
    problem = f"{name} cannot be used"
    return ConfigurationError(problem, place=name, found=found, expected=expected)
