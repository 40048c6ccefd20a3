"""Logits (B, V, ...) that are not there yet: for losses that are given classes on the second axis.

`F.cross_entropy` wants them there when there is more than one axis of rows, so loops of one's own
transpose. The loss is that of the rows, wherever their classes stand.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
import torch.nn.functional as F

from fastft.modeling.losses import lazy_rows  # noqa: F401  # a transpose of rows is recorded there
from fastft.modeling.losses.lazy_logits import LazyLogits
from fastft.modeling.losses.lazy_tensor import LazyTensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastft.modeling.losses.lazy_source import Op


class LazyClassAxis(LazyTensor):
    """Logits with their classes on the second axis, (B, V, ...).

    Attributes:
        logits: The logits (B, ..., V), lazy.
    """

    logits: LazyLogits

    handlers: ClassVar[dict[Any, Callable[..., Any]]] = {}

    @classmethod
    def of(cls, logits: LazyLogits, parent: LazyTensor, op: Op) -> Any:
        """Makes them; `op` on `parent` gives their values."""
        first, *rest = logits.shape[:-1]
        shape = (first, logits.shape[-1], *rest)
        lazy = cls.create(logits.source, shape, logits.dtype, parent, op)
        lazy.logits = logits
        return lazy


_T = torch.Tensor
_transpose_rows = LazyLogits.handlers[_T.transpose]


def _transpose(logits: LazyLogits, dim0: int, dim1: int) -> Any:
    return _moved(logits, (_T.transpose, (dim0, dim1), {}), _transpose_rows)


def _permute(logits: LazyLogits, *dims: Any) -> Any:
    return _moved(logits, (_T.permute, dims, {}))


def _move(logits: LazyLogits, source: Any, destination: Any) -> Any:
    return _moved(logits, (_T.movedim, (source, destination), {}))


def _moved(logits: LazyLogits, op: Op, other: Any = None) -> Any:
    """What an operation gives that only moves the classes to the second axis."""
    func, args, _ = op
    axes = tuple(range(logits.dim()))
    try:
        # Each axis has the length of its number: so it is seen where it went.
        found = func(torch.empty(axes, device="meta"), *args).shape
    except (IndexError, RuntimeError, TypeError):
        return NotImplemented
    if len(axes) > 2 and found == (0, axes[-1], *axes[1:-1]):
        return LazyClassAxis.of(logits, logits, op)
    return NotImplemented if other is None else other(logits, *args)


def _on_logits(func: Any, lazy: LazyClassAxis, *args: Any, **kwargs: Any) -> Any:
    """What does the same to each value does it to the logits before they are moved, too."""
    logits = lazy.logits.recorded(func, (lazy.logits, *args), kwargs)
    if logits is NotImplemented or logits is lazy.logits:
        return NotImplemented if logits is NotImplemented else lazy
    return LazyClassAxis.of(logits, lazy, logits.ops[-1])


def _contiguous(lazy: LazyClassAxis) -> Any:
    if lazy.is_in_order:
        return lazy
    return LazyClassAxis.of(lazy.logits, lazy, (_T.contiguous, (), {}))


def _cross_entropy(lazy: LazyClassAxis, target: Any, *args: Any, **kwargs: Any) -> Any:
    has_rows = type(target) is torch.Tensor and target.shape == lazy.logits.shape[:-1]
    if not has_rows or not lazy.numel():
        return NotImplemented
    rows = lazy.logits.rows_for(lazy)
    loss = LazyLogits.handlers[F.cross_entropy](rows, target.reshape(-1), *args, **kwargs)
    return loss if loss is NotImplemented or not loss.dim() else loss.reshape(target.shape)


def _mt(logits: LazyLogits) -> Any:
    return _transpose(logits, -2, -1)


_TRANSPOSES = (_T.transpose, torch.transpose, _T.swapaxes, torch.swapaxes, _T.swapdims)
_MOVES = (_T.movedim, torch.movedim, _T.moveaxis, torch.moveaxis)
LazyLogits.handlers.update(dict.fromkeys((*_TRANSPOSES, torch.swapdims), _transpose))
LazyLogits.handlers.update(dict.fromkeys((_T.permute, torch.permute), _permute))
LazyLogits.handlers.update(dict.fromkeys(_MOVES, _move))
LazyLogits.handlers[cast("Any", _T.mT).__get__] = _mt
LazyClassAxis.handlers[F.cross_entropy] = _cross_entropy
LazyClassAxis.handlers[_T.contiguous] = _contiguous
for _func in (
    *(_T.clone, torch.clone, _T.float, _T.bfloat16, _T.half, _T.to, _T.type_as),
    *(_T.mul, _T.__mul__, _T.__rmul__, torch.mul, _T.div, _T.__truediv__, torch.div),
    *(_T.tanh, torch.tanh, F.tanh),
):
    LazyClassAxis.handlers[_func] = partial(_on_logits, _func)
