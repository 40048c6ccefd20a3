"""Which way a loss is computed, and what all ways share on their way through autograd."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from fastft.errors import ConfigurationError
from fastft.modeling.losses import triton_rows
from fastft.modeling.losses.kernel import FORMATS, is_batched, is_readable, is_transformed
from fastft.modeling.losses.settings import SMALL, Stats, check_weight, wrong
from fastft.modeling.losses.targets import PLAIN

if TYPE_CHECKING:
    from fastft.modeling.losses.divisor import Number
    from fastft.modeling.losses.kernel import RowKernel
    from fastft.modeling.losses.reference import Rows
    from fastft.modeling.losses.settings import Settings
    from fastft.modeling.losses.targets import Targets
    from fastft.modeling.losses.triton_rows import TritonKernel

BACKENDS = ("auto", "rust", "torch", "triton")


def runs_rust(
    backend: str, num_logits: int, dtype: torch.dtype, *tensors: torch.Tensor | None
) -> bool:
    """Whether the Rust kernel computes a loss of so many logits of this type.

    Raises:
        ConfigurationError: It was asked for and cannot, or nobody knows the backend.
    """
    if backend == "torch" or torch.compiler.is_compiling():
        return False
    fits = dtype in FORMATS and is_readable(*tensors)
    if backend == "rust" and not fits:
        expected = f"ordinary tensors on the CPU, {', '.join(FORMATS.values())}"
        raise wrong("backend", _where(dtype, *tensors), expected)
    return fits and (backend == "rust" or num_logits >= SMALL)


def check_backend(backend: str, known: tuple[str, ...] = BACKENDS) -> None:
    """Looks whether there is such a backend.

    Raises:
        ConfigurationError: There is not.
    """
    if backend not in known:
        raise wrong("backend", repr(backend), f"one of {', '.join(known)}")


def runs_triton(
    backend: str, num_logits: int, dtype: torch.dtype, *tensors: torch.Tensor | None
) -> bool:
    """Whether the Triton kernel computes a loss of so many logits of this type.

    By itself it does on a GPU for which triton is there. It is run on the CPU, in its interpreter,
    only when that was asked for: a test does.

    Raises:
        ConfigurationError: It was asked for and cannot.
    """
    if backend not in ("auto", "triton") or torch.compiler.is_compiling() or not num_logits:
        return False
    first = tensors[0]
    is_gpu = first is not None and first.is_cuda
    if backend == "auto" and not (is_gpu and num_logits >= SMALL):
        return False
    fits = dtype in triton_rows.FORMATS and _is_plain_together(*tensors)
    if backend == "auto":
        return fits and triton_rows.is_there()
    if not (fits and (is_gpu or triton_rows.kernels().IS_INTERPRETED)):
        expected = "ordinary tensors on one GPU, float32, bfloat16, float16"
        more = "; on the CPU TRITON_INTERPRET=1 in the environment, before triton is imported"
        raise wrong("backend", _where(dtype, *tensors), expected + more)
    triton_rows.kernels()
    return True


def _is_plain_together(*tensors: torch.Tensor | None) -> bool:
    if is_transformed():
        return False
    given = [one for one in tensors if one is not None]
    plain = all(type(one) in PLAIN and one.layout == torch.strided for one in given)
    return plain and len({one.device for one in given}) == 1


def _where(dtype: torch.dtype, *tensors: torch.Tensor | None) -> str:
    given = [one for one in tensors if one is not None]
    kinds = {type(one).__name__ for one in given if type(one) not in PLAIN}
    kinds |= {str(one.layout) for one in given if one.layout != torch.strided}
    places = ", ".join([*sorted({one.device.type for one in given}), *sorted(kinds)])
    more = " under torch.func, forward-mode differentiation or a trace" if is_transformed() else ""
    return f"{dtype} on {places}{more}"


def small_mean(logits: torch.Tensor, labels: torch.Tensor, ignore_index: int) -> Any:
    """The mean by torch alone; None where it is NaN or torch refuses, which others look into.

    For logits (N, V): of others torch takes labels that mean something else.
    """
    try:
        if labels.dtype is not torch.int64 or type(ignore_index) is not int:
            return None
        loss = F.cross_entropy(logits, labels, ignore_index=ignore_index)
        return None if math.isnan(loss.item()) else loss
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return None


def finished(
    losses: torch.Tensor, targets: Targets, settings: Settings, divisor: Number, dtype: torch.dtype
) -> torch.Tensor:
    """The losses of rows, float64 (M,), reduced; float64 for logits of that type, else float32."""
    if settings.reduction == "none":
        return targets.spread(losses.to(loss_type(dtype)))
    return (losses.sum() / divisor).to(loss_type(dtype))


def loss_type(dtype: torch.dtype) -> torch.dtype:
    """The type of the loss of logits or hidden rows of this type."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def split_divisor(
    divisor: Any,
    dtype: torch.dtype,
    kernel: RowKernel | TritonKernel,
    weights: tuple[torch.Tensor | None, ...],
) -> tuple[Any, Any]:
    """What gradients are multiplied by when they are made, and divided by in backward.

    In float16 a mean over many tokens would lose small gradients before a `GradScaler` has had its
    chance, so there the division waits. But a weight of 100,000 has no place in float16: by the
    largest of the weights, as a power of 2, all are divided at once.
    """
    if isinstance(divisor, torch.Tensor):
        # The quotient of whole numbers has the default type, whatever that is.
        divisor = divisor.double()
    if dtype != torch.float16:
        return 1 / divisor, 1.0
    factor: Any = 1.0
    for one in weights:
        if one is not None and one.numel():
            sizes = one.detach().double().abs()
            factor = factor * _power_for(kernel.number(sizes.where(sizes.isfinite(), 0).amax()))
    return factor, divisor * factor


def _power_for(size: Number) -> Number:
    """The power of 2, at most 1, that makes numbers up to `size` no larger than 1."""
    if isinstance(size, torch.Tensor):
        return size.clamp(min=1).log2().ceil().neg().exp2()
    return 2.0 ** -math.ceil(math.log2(max(size, 1.0)))


def upstream(
    grad: torch.Tensor,
    weight: torch.Tensor | None,
    settings: Settings,
    divisor: Number,
    kernel: RowKernel | TritonKernel,
) -> tuple[torch.Tensor | None, Any]:
    """What the gradient of each row, and of all, is multiplied by for a gradient of the loss.

    With reduction "none" `grad` is (M,), else ().
    """
    if settings.reduction != "none":
        return weight, kernel.number(grad) / divisor
    return (grad if weight is None else grad * weight), 1.0


def once(ctx: Any, name: str, grad: torch.Tensor) -> Any:
    """Takes what a graph holds for one backward, in which `grad` comes from above.

    Raises:
        ConfigurationError: Somebody took it before, or wants the gradient of the gradient, or
            gradients for many gradients of the loss at once.
    """
    taken = getattr(ctx, name)
    setattr(ctx, name, None)
    if is_batched(grad):
        found = "backward for a batch of gradients (is_grads_batched, vectorize)"
    elif taken is None:
        found = "a second backward"
    elif torch.is_grad_enabled():
        found = "backward with create_graph=True"
    else:
        return taken
    raise ConfigurationError(
        "this loss has its gradients ready for one backward",
        found=found,
        fix="compute the loss again, or keep its logits: backend='torch', of a model "
        "fastft.fuse_head(model, backend='torch'), of a Trainer fuse_head=False",
    )


def stats_of(rows: Rows, targets: Targets, ignore_index: int) -> Stats:
    """The statistics of rows, each with a label of `targets`."""
    counts = targets.labels != ignore_index
    # Where there were no rows at all nothing was looked at.
    none = torch.zeros_like(counts, dtype=torch.float32)
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
        ConfigurationError: There is not, or it is no weight.
    """
    check_weight("class_weight", class_weight)
    if class_weight is not None and class_weight.shape != (num_classes,):
        found = f"the shape {tuple(class_weight.shape)}"
        raise wrong("class_weight", found, f"({num_classes},), a weight for each class")
