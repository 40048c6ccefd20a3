"""Logits (B, V, ...) that are not there yet: for losses that are given classes on the second axis.

`F.cross_entropy` wants them there when there is more than one axis of rows, so loops of one's own
transpose. The loss is that of the rows, wherever their classes stand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F

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


def _contiguous(lazy: LazyClassAxis) -> Any:
    return LazyClassAxis.of(lazy.logits, lazy, (_T.contiguous, (), {}))


def _cross_entropy(lazy: LazyClassAxis, target: Any, *args: Any, **kwargs: Any) -> Any:
    fits = type(target) is torch.Tensor and target.shape == lazy.logits.shape[:-1]
    if not fits or not lazy.numel():
        return NotImplemented
    rows = lazy.logits.rows_for(lazy)
    loss = LazyLogits.handlers[F.cross_entropy](rows, target.reshape(-1), *args, **kwargs)
    return loss if loss is NotImplemented or not loss.dim() else loss.reshape(target.shape)


LazyLogits.handlers.update(dict.fromkeys((_T.transpose, torch.transpose), _transpose))
LazyLogits.handlers.update(dict.fromkeys((_T.permute, torch.permute), _permute))
LazyLogits.handlers.update(dict.fromkeys((_T.movedim, torch.movedim), _move))
LazyLogits.handlers.update(dict.fromkeys((_T.swapaxes, torch.swapaxes), _transpose))
LazyClassAxis.handlers[F.cross_entropy] = _cross_entropy
LazyClassAxis.handlers[_T.contiguous] = _contiguous
