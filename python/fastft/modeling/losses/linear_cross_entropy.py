"""Softmax cross entropy of a linear layer, without its logits: `fastft.linear_cross_entropy`.

The gradients are computed with the loss, chunk by chunk (`chunks.py`), and only scaled in backward;
so the logits of a batch never exist as a whole. On the CPU rows without a label are not multiplied;
on a GPU that would wait for it, so `index` has to say which rows count. Everything that this does
not cover takes the plain way, logits and all.
"""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral
from typing import Any

import torch
import torch.nn.functional as F
from torch.compiler import is_compiling

from fastft.modeling.losses.choice import (
    BACKENDS,
    check_backend,
    check_weights,
    runs_rust,
    runs_triton,
    small_mean,
    stats_of,
)
from fastft.modeling.losses.chunks import Linear, Plan
from fastft.modeling.losses.divisor import divisor_of, divisor_on_device
from fastft.modeling.losses.fused_linear import FusedLinear
from fastft.modeling.losses.kernel import RowKernel
from fastft.modeling.losses.peer_losses import PEERS, peer_loss
from fastft.modeling.losses.reference import plain_linear
from fastft.modeling.losses.settings import NUMBERS, SMALL, Settings, wrong
from fastft.modeling.losses.targets import PLAIN, is_traced, targets_of
from fastft.modeling.losses.triton_rows import TritonKernel

OPTIONS = ("chunk_tokens", "accum_dtype", "backend")
"""Arguments that change how the loss is computed, not what it is."""
ACCUM_DTYPES = {"auto": None, "float32": torch.float32, torch.float32: torch.float32}


def linear_cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    index: torch.Tensor | None = None,
    token_weight: torch.Tensor | None = None,
    class_weight: torch.Tensor | None = None,
    ignore_index: int = -100,
    shift: bool = False,
    reduction: str = "mean",
    denominator: int | float | torch.Tensor | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    chunk_tokens: int | None = None,
    accum_dtype: Any = "auto",
    backend: str = "auto",
    return_stats: bool = False,
) -> Any:
    """Softmax cross entropy of `hidden @ weight.T + bias`, in float32 whatever their type.

    Args:
        hidden: (..., H).
        weight: (V, H), of the same type. Under autocast both are cast as `F.linear` casts them.
        labels: (...), int64 or int32; `ignore_index` for rows that do not count.
        bias: (V,).
        index: int64 (M,): the rows of the flattened `hidden` that count; then `labels` and
            `token_weight` are (M,) too (`loss_index` and `loss_labels` of a batch).
        token_weight: A weight for each label.
        class_weight: (V,), a weight for each class.
        ignore_index: The label that does not count.
        shift: Position t of hidden (B, T, H) predicts the label of t + 1.
        reduction: "mean" divides by the weights of the labels that count and is 0 where none does;
            "sum"; "none" gives a loss for each label, 0 where it does not count, and multiplies
            once more in backward.
        denominator: Divides the sum instead, for gradients that are accumulated.
        label_smoothing: The share of the target that is spread evenly over the classes.
        z_loss: The factor of the squared log-sum-exp, which is added to each loss.
        softcap: Logits become `softcap * tanh(logits / softcap)`, after `logit_scale`.
        logit_scale: What logits are multiplied by.
        chunk_tokens: Rows whose logits are made at a time; None for 256, in half precision 1,024,
            on a GPU 2,048 to 4,096.
        accum_dtype: "auto" sums the weight gradient in its own type, `torch.float32` in that; in
            half precision this takes a second array of its size and rounds less. On a GPU half
            precision is summed in float32 always, where there is more than one chunk.
        backend: "auto"; "rust" (CPU); "triton" (GPU); "torch", the plain way; "torch_fused" and
            "quack", the fused losses of torch and of quack-kernels, with fewer options.
        return_stats: Whether to give `Stats` too.

    Returns:
        The loss, float32 (float64 for float64); with `return_stats` the loss and `Stats`.

    Raises:
        LabelError: A label on the CPU is neither a class nor `ignore_index`. On a GPU nobody waits
            to look: loss and gradient of such a row are NaN.
        ConfigurationError: An argument does not fit the others. In backward: the gradients of this
            loss were used before.

    Example:
        >>> linear_cross_entropy(torch.zeros(2, 3), torch.ones(4, 3), torch.tensor([3, -100]))
        tensor(1.3863)
    """
    if (
        index is token_weight is class_weight is denominator is softcap is chunk_tokens is None
        and type(label_smoothing) in NUMBERS
        and type(z_loss) in NUMBERS
        and type(logit_scale) in NUMBERS
        and label_smoothing == z_loss == 0
        and logit_scale == 1
        and reduction == "mean"
        and backend == accum_dtype == "auto"
        and not (shift or return_stats or is_compiling())
        and (loss := _small(hidden, weight, bias, labels, ignore_index)) is not None
    ):
        return loss
    settings = Settings(
        *(ignore_index, reduction, denominator, label_smoothing, z_loss, softcap, logit_scale),
        class_weight=class_weight,
    )
    plan = _plan(chunk_tokens, accum_dtype)
    check_backend(backend, (*BACKENDS, *PEERS))
    _check_tensors(hidden=hidden, weight=weight, bias=bias)
    hidden, weight, bias = _under_autocast(hidden, weight, bias)
    _check_layer(hidden, weight, bias, settings)
    targets = targets_of(
        *(hidden.shape[:-1], labels),
        device=hidden.device,
        settings=settings,
        shift=shift,
        index=index,
        token_weight=token_weight,
    )
    # Not by a number of rows: where that is open, as in torch.export, it would be closed.
    rows = hidden.flatten(0, -2) if hidden.dim() > 1 else hidden.unsqueeze(0)
    num_classes = weight.shape[0]
    tensors = (hidden, weight, labels, bias, index, token_weight, class_weight)
    if runs_triton(backend, targets.labels.numel() * num_classes, hidden.dtype, *tensors):
        divisor = divisor_on_device(targets, settings)
        triton = TritonKernel(settings, statistics=return_stats)
        plan = replace(plan, on_device=True)
        run = FusedLinear(targets, settings, plan, triton, divisor)
    else:
        targets = targets.supervised(ignore_index)
        targets.check(num_classes, ignore_index, shift=shift)
        if backend in PEERS:
            return peer_loss(
                *(backend, Linear(rows, weight, bias), targets, settings),
                chunk_tokens=chunk_tokens,
                return_stats=return_stats,
            )
        num_logits = targets.labels.numel() * num_classes
        if not runs_rust(backend, num_logits, hidden.dtype, *tensors):
            loss, found = plain_linear(
                *(rows, weight, bias, targets, settings), statistics=return_stats
            )
            return (loss, stats_of(found, targets, ignore_index)) if return_stats else loss
        kernel = RowKernel(settings, statistics=return_stats)
        run = FusedLinear(targets, settings, plan, kernel, divisor_of(targets, settings))
    loss = run.apply(rows, weight, bias)
    return (loss, stats_of(run.rows, targets, ignore_index)) if return_stats else loss


def check_options(
    chunk_tokens: int | None = None, accum_dtype: Any = "auto", backend: str = "auto"
) -> None:
    """Looks whether options of `linear_cross_entropy` have values that can be meant.

    Raises:
        ConfigurationError: One has not.
    """
    _plan(chunk_tokens, accum_dtype)
    check_backend(backend, (*BACKENDS, *PEERS))


def _small(hidden: Any, weight: Any, bias: Any, labels: Any, ignore_index: int) -> Any:
    """The mean by torch alone; None where it is not small, or others have to look into it.

    A head of two classes takes 0.2 ms, forward and backward, so each look counts here.
    Transforms of torch.func are not asked for: torch's own operations serve them, and where they
    hold many values at once torch refuses to tell one.
    """
    try:
        num_rows, _ = hidden.shape
        num_classes = weight.shape[0]
        if (
            num_rows * num_classes >= SMALL
            or type(hidden) not in PLAIN
            or type(weight) not in PLAIN
            or hidden.dtype is not torch.float32
            or not (hidden.is_cpu and weight.is_cpu)
            or not (bias is None or bias.shape == (num_classes,))
            or is_traced()
        ):
            return None
        logits = F.linear(hidden, weight, bias)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return None
    return small_mean(logits, labels, ignore_index)


def _plan(chunk_tokens: Any, accum_dtype: Any) -> Plan:
    is_number = isinstance(chunk_tokens, Integral) and not isinstance(chunk_tokens, bool)
    if chunk_tokens is not None and (not is_number or chunk_tokens < 1):
        raise wrong("chunk_tokens", repr(chunk_tokens), "a number of rows, at least 1, or None")
    is_known = isinstance(accum_dtype, (str, torch.dtype)) and accum_dtype in ACCUM_DTYPES
    if not is_known:
        raise wrong("accum_dtype", repr(accum_dtype), "'auto' or torch.float32")
    size = None if chunk_tokens is None else int(chunk_tokens)
    return Plan(size, ACCUM_DTYPES[accum_dtype])


def _check_tensors(**tensors: Any) -> None:
    """Looks whether the layer is there, all of it in one place."""
    given = {name: one for name, one in tensors.items() if one is not None}
    for name, one in given.items():
        if not isinstance(one, torch.Tensor):
            raise wrong(name, type(one).__name__, "a tensor")
    places = [f"{name} on {one.device}" for name, one in given.items()]
    if len({one.device for one in given.values()}) > 1:
        raise wrong("hidden and weight", ", ".join(places), "one device")


def _under_autocast(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Casts as `F.linear` would be; the casts carry the gradients back to the own types."""
    device = hidden.device.type
    if hidden.dtype == torch.float64 or not torch.amp.is_autocast_available(device):
        return hidden, weight, bias
    if not torch.is_autocast_enabled(device):
        return hidden, weight, bias
    dtype = torch.get_autocast_dtype(device)
    return hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)


def _check_layer(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, settings: Settings
) -> None:
    if hidden.dim() < 1 or weight.dim() != 2 or hidden.shape[-1] != weight.shape[-1]:
        found = f"{tuple(hidden.shape)} and {tuple(weight.shape)}"
        raise wrong("hidden and weight", found, "(..., H) and (V, H)")
    if hidden.dtype != weight.dtype or not hidden.is_floating_point():
        found = f"{hidden.dtype} and {weight.dtype}"
        raise wrong("hidden and weight", found, "one floating point type, or autocast")
    if bias is not None and (bias.shape != weight.shape[:1] or bias.dtype != weight.dtype):
        found = f"{bias.dtype} of shape {tuple(bias.shape)}"
        raise wrong("bias", found, f"{weight.dtype} of shape ({weight.shape[0]},)")
    check_weights(settings.class_weight, weight.shape[0])
