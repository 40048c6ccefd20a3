"""Softmax cross entropy of logits that are there: `fastft.cross_entropy`.

On the CPU the Rust kernel, on a GPU the Triton kernel reads the logits twice, for the loss and for
the gradient, and keeps nothing besides them; in place it reads them once. Everything else takes the
plain way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fastft.errors import LabelError
from fastft.modeling.losses.choice import (
    check_backend,
    check_weights,
    finished,
    once,
    runs_rust,
    runs_triton,
    small_mean,
    split_divisor,
    stats_of,
    upstream,
)
from fastft.modeling.losses.divisor import divisor_of, divisor_on_device
from fastft.modeling.losses.kernel import RowKernel, has_rows, is_batched, is_plain
from fastft.modeling.losses.reference import Rows, reduced, row_losses
from fastft.modeling.losses.settings import NUMBERS, SMALL, Settings, wrong
from fastft.modeling.losses.targets import Targets, targets_of
from fastft.modeling.losses.triton_rows import TritonKernel

if TYPE_CHECKING:
    from fastft.errors import ConfigurationError
    from fastft.modeling.losses.chunks import Kernel
    from fastft.modeling.losses.divisor import Number


def cross_entropy(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
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
    inplace: bool = False,
    backend: str = "auto",
    return_stats: bool = False,
) -> Any:
    """Softmax cross entropy of logits, in float32 whatever their type.

    Args:
        logits: (..., V), float32, bfloat16, float16 or float64.
        labels: (...), int64 or int32; `ignore_index` for rows that do not count.
        token_weight: (...), a weight for each label.
        class_weight: (V,), a weight for each class.
        ignore_index: The label that does not count.
        shift: Position t of logits (B, T, V) predicts the label of t + 1.
        reduction: "mean" divides by the weights of the labels that count and is 0 where none does;
            "sum"; "none" gives a loss for each label, 0 where it does not count.
        denominator: Divides the sum instead, for gradients that are accumulated.
        label_smoothing: The share of the target that is spread evenly over the classes.
        z_loss: The factor of the squared log-sum-exp, which is added to each loss.
        softcap: Logits become `softcap * tanh(logits / softcap)`, after `logit_scale`.
        logit_scale: What logits are multiplied by.
        inplace: The gradient may overwrite the logits: no memory is needed for it, but the logits
            are gone and the graph can be used once.
        backend: "auto"; "rust" (CPU); "triton" (GPU); "torch", the plain way.
        return_stats: Whether to give `Stats` too.

    Returns:
        The loss, float32 (float64 for float64 logits); with `return_stats` the loss and `Stats`.

    Raises:
        LabelError: A label on the CPU is neither a class nor `ignore_index`. On a GPU nobody waits
            to look: loss and gradient of such a row are NaN.
        ConfigurationError: An argument does not fit the others.

    Example:
        >>> cross_entropy(torch.zeros(2, 4), torch.tensor([3, -100]))
        tensor(1.3863)
    """
    if (
        not torch.compiler.is_compiling()
        and is_plain(logits)
        and logits.dtype == torch.float32
        and logits.dim() == 2
        and logits.numel() < SMALL
        and reduction == "mean"
        and backend == "auto"
        and token_weight is class_weight is denominator is softcap is None
        and NUMBERS.issuperset((type(label_smoothing), type(z_loss), type(logit_scale)))
        and label_smoothing == z_loss == 0
        and logit_scale == 1
        and not (shift or inplace or return_stats)
        and (loss := small_mean(logits, labels, ignore_index)) is not None
    ):
        return loss
    settings = Settings(
        *(ignore_index, reduction, denominator, label_smoothing, z_loss, softcap, logit_scale),
        class_weight=class_weight,
    )
    _check_logits(logits, settings)
    targets = targets_of(
        *(logits.shape[:-1], labels),
        device=logits.device,
        settings=settings,
        shift=shift,
        token_weight=token_weight,
    )
    num_logits = SMALL if inplace else logits.numel()
    tensors = (logits, labels, class_weight, token_weight)
    check_backend(backend)
    num_classes = logits.shape[-1]
    if runs_triton(backend, num_logits, logits.dtype, *tensors):
        divisor = divisor_on_device(targets, settings)
        run = _Run(targets, settings, TritonKernel(settings, statistics=return_stats), divisor)
    elif runs_rust(backend, num_logits, logits.dtype, *tensors):
        if class_weight is not None:
            # Their sum is looked up by labels, before the kernel has looked at these.
            targets.check(num_classes, ignore_index, shift=shift)
        kernel = RowKernel(settings, statistics=return_stats)
        run = _Run(targets, settings, kernel, divisor_of(targets, settings))
    else:
        return _plainly(logits, targets, settings, shift=shift, return_stats=return_stats)
    rows = _as_rows(logits, inplace=inplace)
    in_place = inplace and torch.is_grad_enabled() and logits.requires_grad
    try:
        loss = (_InPlace if in_place else _Fused).apply(rows, run)
    except LabelError:
        # The kernel looked at all labels before it wrote anything; here their places are known.
        targets.check(num_classes, ignore_index, shift=shift)
        raise
    return (loss, stats_of(run.rows, targets, ignore_index)) if return_stats else loss


def _check_logits(logits: torch.Tensor, settings: Settings) -> None:
    if not isinstance(logits, torch.Tensor):
        raise wrong("logits", type(logits).__name__, "a tensor of shape (..., V)")
    if logits.dim() < 1 or not logits.is_floating_point():
        found = f"{logits.dtype} of shape {tuple(logits.shape)}"
        raise wrong("logits", found, "floating point numbers of shape (..., V)")
    check_weights(settings.class_weight, logits.shape[-1])


def _as_rows(logits: torch.Tensor, *, inplace: bool) -> torch.Tensor:
    """The logits as (N, V), a view where they have to be overwritten."""
    width = logits.shape[-1]
    if not inplace:
        rows = logits.reshape(logits.shape[:-1].numel(), width)
        return rows if has_rows(rows) else rows.contiguous()
    if _is_leaf(logits) or (logits._base is not None and _is_leaf(logits._base)):
        found = "logits that are a leaf of the graph, or a view of one"
        raise wrong("inplace", found, "logits that were computed")
    try:
        rows = logits.view(logits.shape[:-1].numel(), width)
    except RuntimeError as error:
        raise _scattered(logits) from error
    if not has_rows(rows):
        raise _scattered(logits)
    return rows


def _is_leaf(tensor: torch.Tensor) -> bool:
    return tensor.is_leaf and tensor.requires_grad


def _scattered(logits: torch.Tensor) -> ConfigurationError:
    return wrong("inplace", f"strides {logits.stride()}", "contiguous logits")


class _Run:
    """One call on its way through autograd."""

    def __init__(
        self, targets: Targets, settings: Settings, kernel: Kernel, divisor: Number
    ) -> None:
        self.targets = targets
        self.settings = settings
        self.kernel = kernel
        self.divisor = divisor
        self.rows = Rows(torch.empty(0))

    def loss(self, logits: torch.Tensor) -> torch.Tensor:
        """The loss, from the rows that the kernel gave."""
        dtype = logits.dtype
        return finished(self.rows.loss, self.targets, self.settings, self.divisor, dtype)


class _Fused(torch.autograd.Function):
    """Logits (N, V) to a loss; the gradient is computed when it is asked for."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, run: _Run) -> torch.Tensor:
        targets = run.targets
        run.rows = run.kernel(logits, targets.labels, row_weight=targets.token_weight)
        ctx.save_for_backward(logits, *targets.constants(run.settings))
        ctx.run = run
        return run.loss(logits)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits, *_ = ctx.saved_tensors
        if torch.is_grad_enabled() or is_batched(grads[0]):
            return _plain_gradient(logits, ctx.run, grads[0]), None
        run = ctx.run
        gradient = torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)
        grad = grads[0].reshape(-1) if run.settings.reduction == "none" else grads[0]
        weight, factor = upstream(
            grad, run.targets.token_weight, run.settings, run.divisor, run.kernel
        )
        run.kernel(logits, run.targets.labels, gradient=gradient, row_weight=weight, factor=factor)
        return gradient, None


class _InPlace(torch.autograd.Function):
    """Logits (N, V) to a loss; their gradient takes their place at once."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, run: _Run) -> torch.Tensor:
        targets = run.targets
        weights = targets.token_weight, run.settings.class_weight
        factor, ctx.divisor = split_divisor(run.divisor, logits.dtype, run.kernel, weights)
        run.rows = run.kernel(
            logits,
            targets.labels,
            gradient=logits,
            row_weight=targets.token_weight,
            factor=factor,
        )
        # Whoever kept the logits for a backward of his own has to learn that they are gone.
        torch.autograd.graph.increment_version(logits)
        ctx.gradient = logits.detach()
        ctx.reduction, ctx.kernel = run.settings.reduction, run.kernel
        return run.loss(logits)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        gradient = once(ctx, "gradient", grads[0])
        if ctx.reduction == "none":
            gradient.mul_(grads[0].reshape(-1, 1) / ctx.divisor)
        else:
            ctx.kernel.scale_(gradient, ctx.kernel.number(grads[0]) / ctx.divisor)
        return gradient, None


def _plain_gradient(logits: torch.Tensor, run: _Run, grad: torch.Tensor) -> torch.Tensor:
    """The gradient by the plain way, for `create_graph=True` and for a batch of gradients."""
    wants_graph = torch.is_grad_enabled()
    targets = run.targets.supervised(run.settings.ignore_index)
    with torch.enable_grad():
        loss = _plain_loss(logits, targets, run.settings)[0]
    (gradient,) = torch.autograd.grad(loss, logits, grad, create_graph=wants_graph)
    return gradient


def _plainly(
    logits: torch.Tensor, targets: Targets, settings: Settings, *, shift: bool, return_stats: bool
) -> Any:
    rows = logits.reshape(targets.labels.numel(), logits.shape[-1])
    targets = targets.supervised(settings.ignore_index)
    targets.check(logits.shape[-1], settings.ignore_index, shift=shift)
    loss, found = _plain_loss(rows, targets, settings, statistics=return_stats)
    return (loss, stats_of(found, targets, settings.ignore_index)) if return_stats else loss


def _plain_loss(
    rows: torch.Tensor, targets: Targets, settings: Settings, *, statistics: bool = False
) -> tuple[torch.Tensor, Rows]:
    chosen = rows if targets.rows is None else rows[targets.rows]
    found = row_losses(chosen, targets, settings, statistics=statistics)
    return reduced(found.loss, targets, settings), found
