"""Log probabilities that are not there yet: for losses made of `log_softmax` and `nll_loss`.

The label smoother of transformers takes `-log_softmax`, gathers the entries of the labels, and sums
all entries of a row. Both are cross entropies: the first of the labels, the second, V times, of the
uniform distribution, which label smoothing of 1 gives. Rows may be chosen and shaped in between.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F

from fastft.modeling.losses.lazy_logits import LazyLogits, fused_cross_entropy
from fastft.modeling.losses.lazy_rows import flat_sizes, has_view
from fastft.modeling.losses.lazy_tensor import LazyTensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastft.modeling.losses.lazy_source import Op


class LazyLogProbs(LazyTensor):
    """`factor * log_softmax(logits)`, (..., V).

    Attributes:
        logits: The logits, lazy.
        factor: 1 or -1.
    """

    logits: LazyLogits
    factor: int

    handlers: ClassVar[dict[Any, Callable[..., Any]]] = {}

    def row_losses(self, labels: torch.Tensor, **options: Any) -> Any:
        """Gives what each row loses, fp32, in the shape of `labels`: (...)."""
        rows = self.logits.rows_for(self)
        loss = fused_cross_entropy(rows, labels.reshape(-1), reduction="none", **options)
        return NotImplemented if loss is NotImplemented else loss.reshape(labels.shape)


_NO_LABEL = torch.iinfo(torch.int32).min


def _log_softmax(
    logits: LazyLogits,
    dim: int | None = None,
    _stacklevel: int = 3,
    dtype: torch.dtype | None = None,
) -> Any:
    if dim not in (-1, logits.dim() - 1) or dtype not in (None, torch.float32):
        return NotImplemented
    if not logits.numel():
        return NotImplemented
    # Autocast computes it in fp32, and so it is replayed.
    is_cast = torch.is_autocast_enabled(logits.device.type)
    dtype = dtype or (torch.float32 if is_cast else logits.dtype)
    op = (F.log_softmax, (), {"dim": -1, "dtype": dtype})
    lazy = LazyLogProbs.create(logits.source, tuple(logits.shape), dtype, logits, op)
    lazy.logits, lazy.factor = logits, 1
    return lazy


def _negative(log_probs: LazyLogProbs) -> Any:
    return _then(log_probs, (torch.neg, (), {}), log_probs.logits, -log_probs.factor)


def _then(log_probs: LazyLogProbs, op: Op, logits: LazyLogits, factor: int) -> Any:
    shape, dtype = tuple(logits.shape), log_probs.dtype
    lazy = LazyLogProbs.create(log_probs.source, shape, dtype, log_probs, op)
    lazy.logits, lazy.factor = logits, factor
    return lazy


def _rows(func: Any, log_probs: LazyLogProbs, *args: Any, **kwargs: Any) -> Any:
    """Rows of log probabilities are those of rows of the logits."""
    logits = log_probs.logits.recorded(func, (log_probs.logits, *args), kwargs)
    if logits is NotImplemented or logits is log_probs.logits:
        return NotImplemented if logits is NotImplemented else log_probs
    return _then(log_probs, logits.ops[-1], logits, log_probs.factor)


def _view(log_probs: LazyLogProbs, *sizes: Any) -> Any:
    # They may lie in order where the logits do not.
    if not has_view(log_probs, flat_sizes(sizes)):
        return NotImplemented
    return _rows(_T.reshape, log_probs, *sizes)


def _contiguous(log_probs: LazyLogProbs) -> Any:
    if log_probs.is_in_order:
        return log_probs
    return _then(log_probs, (_T.contiguous, (), {}), log_probs.logits, log_probs.factor)


def _gather(log_probs: LazyLogProbs, dim: int, index: torch.Tensor) -> Any:
    is_last = dim in (-1, log_probs.dim() - 1)
    if not is_last or index.shape != (*log_probs.shape[:-1], 1):
        return NotImplemented
    # Here every index has to be an entry, -100 too.
    losses = log_probs.row_losses(index.squeeze(-1), ignore_index=_NO_LABEL)
    if losses is NotImplemented:
        return NotImplemented
    # A tensor of its own: the label smoother fills it in place.
    return (losses * -log_probs.factor).to(log_probs.dtype).unsqueeze(-1).clone()


def _sum(
    log_probs: LazyLogProbs, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Any:
    return _means(log_probs, dim, keepdim, dtype, times=log_probs.shape[-1])


def _mean(
    log_probs: LazyLogProbs, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Any:
    return _means(log_probs, dim, keepdim, dtype, times=1)


def _means(log_probs: LazyLogProbs, dim: Any, keepdim: bool, dtype: Any, *, times: int) -> Any:
    """The means over the vocabulary, multiplied."""
    if dim not in (-1, log_probs.dim() - 1, (-1,), [-1]):
        return NotImplemented
    any_label = torch.zeros(log_probs.shape[:-1], dtype=torch.int64, device=log_probs.device)
    losses = log_probs.row_losses(any_label, label_smoothing=1.0)
    if losses is NotImplemented:
        return NotImplemented
    found = (losses * (-log_probs.factor * times)).to(dtype or log_probs.dtype)
    return (found.unsqueeze(-1) if keepdim else found).clone()


def _nll_loss(
    log_probs: LazyLogProbs,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    if log_probs.factor != 1 or size_average is not None or reduce is not None:
        return NotImplemented
    if log_probs.dim() != 2 or target.shape != log_probs.shape[:-1]:
        return NotImplemented
    return fused_cross_entropy(
        log_probs.logits.rows_for(log_probs),
        target,
        ignore_index=ignore_index,
        class_weight=weight,
        reduction=reduction,
    )


def _torch_log_softmax(logits: LazyLogits, dim: int, dtype: Any = None) -> Any:
    return _log_softmax(logits, dim, dtype=dtype)


_T = torch.Tensor
LazyLogits.handlers[F.log_softmax] = _log_softmax
LazyLogits.handlers.update(dict.fromkeys((_T.log_softmax, torch.log_softmax), _torch_log_softmax))
LazyLogProbs.handlers.update(dict.fromkeys((_T.neg, _T.__neg__, torch.neg), _negative))
LazyLogProbs.handlers.update(dict.fromkeys((_T.gather, torch.gather), _gather))
LazyLogProbs.handlers.update(dict.fromkeys((_T.sum, torch.sum), _sum))
LazyLogProbs.handlers.update(dict.fromkeys((_T.mean, torch.mean), _mean))
for _func in (
    *(_T.__getitem__, _T.reshape, torch.reshape, _T.flatten, torch.flatten),
    *(_T.squeeze, torch.squeeze, _T.unsqueeze, torch.unsqueeze, _T.clone),
):
    LazyLogProbs.handlers[_func] = partial(_rows, _func)
LazyLogProbs.handlers[F.nll_loss] = _nll_loss
LazyLogProbs.handlers[_T.contiguous] = _contiguous
LazyLogProbs.handlers[_T.view] = _view
