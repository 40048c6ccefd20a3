"""Which rows of lazy logits there are, and how they are shaped: what is recorded of it.

The last axis, the vocabulary, stays whole and last; so the same is done to the hidden states.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fastft.modeling.losses import leading_axes
from fastft.modeling.losses.lazy_logits import LazyLogits, records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastft.modeling.losses.lazy_tensor import LazyTensor

_T = torch.Tensor


@records(_T.view, _T.reshape, torch.reshape)
def _reshape(func: Any, logits: LazyLogits, *sizes: Any, **kwargs: Any) -> Any:
    if kwargs or not sizes or isinstance(sizes[0], torch.dtype):
        return NotImplemented
    flat = flat_sizes(sizes)
    shape = leading_axes.reshaped(logits.shape, flat)
    if shape is None or (func is _T.view and not has_view(logits, flat)):
        return NotImplemented
    hidden = logits.hidden.reshape(*shape, logits.hidden.shape[-1])
    return logits.then(_T.reshape, (*shape, logits.shape[-1]), hidden=hidden)


def flat_sizes(sizes: tuple[Any, ...]) -> tuple[Any, ...]:
    """Gives the sizes of a shape, however they were given."""
    return tuple(sizes[0]) if sizes and isinstance(sizes[0], list | tuple) else sizes


def has_view(lazy: LazyTensor, shape: tuple[Any, ...]) -> bool:
    """Whether the values would have a view of this shape; torch says why they have not."""
    layout = lazy.without_memory()
    if layout is None and leading_axes.reshaped(lazy.shape, shape) == lazy.shape[:-1]:
        return True  # that shape they have
    try:
        return layout is not None and layout.view(shape) is not None
    except RuntimeError:
        return False


@records(_T.flatten, torch.flatten)
def _flatten(func: Any, logits: LazyLogits, start_dim: int = 0, end_dim: int = -1) -> Any:
    axes = range(-logits.dim(), logits.dim())
    last = end_dim % logits.dim()
    if last == logits.dim() - 1 or start_dim not in axes or end_dim not in axes:
        return NotImplemented
    if start_dim % logits.dim() == last:
        return logits
    hidden = logits.hidden.flatten(start_dim, last)
    return logits.then(_T.flatten, start_dim, last, hidden=hidden)


@records(_T.transpose, torch.transpose)
def _transpose(func: Any, logits: LazyLogits, dim0: int, dim1: int) -> Any:
    last = logits.dim() - 1
    known = range(-last - 1, last + 1)
    if dim0 not in known or dim1 not in known:
        return NotImplemented
    if last < 1 or last in (dim0 % (last + 1), dim1 % (last + 1)):
        return NotImplemented
    axes = dim0 % (last + 1), dim1 % (last + 1)
    return logits.then(_T.transpose, *axes, hidden=logits.hidden.transpose(*axes))


@records(_T.__getitem__)
def _index(func: Any, logits: LazyLogits, index: Any) -> Any:
    if not leading_axes.leaves_last(index, logits.dim()):
        return NotImplemented
    index = _kept(index)
    return logits.then(func, index, hidden=logits.hidden[index])


def _kept(index: Any) -> Any:
    """Keeps an index as it is now: its owner may change it before the values are made."""
    if isinstance(index, tuple):
        return tuple(_kept(one) for one in index)
    return index.clone() if isinstance(index, torch.Tensor) else index


@records(_T.unbind, torch.unbind)
def _unbind(func: Any, logits: LazyLogits, dim: int = 0) -> Any:
    if logits.dim() < 2 or dim not in (0, -logits.dim()):
        return NotImplemented
    return tuple(_index(_T.__getitem__, logits, number) for number in range(logits.shape[0]))


@records(_T.__iter__)
def _iterate(func: Any, logits: LazyLogits) -> Iterator[Any]:
    rows = _unbind(func, logits)
    return rows if rows is NotImplemented else iter(rows)


@records(_T.squeeze, torch.squeeze)
def _squeeze(func: Any, logits: LazyLogits, dim: int) -> Any:
    last = logits.dim() - 1
    if dim not in range(-last - 1, last + 1) or dim % (last + 1) == last:
        return NotImplemented
    axis = dim % (last + 1)
    return logits.then(_T.squeeze, axis, hidden=logits.hidden.squeeze(axis))


@records(_T.unsqueeze, torch.unsqueeze)
def _unsqueeze(func: Any, logits: LazyLogits, dim: int) -> Any:
    num_axes = logits.dim() + 1
    if dim not in range(-num_axes, num_axes) or dim % num_axes == num_axes - 1:
        return NotImplemented
    axis = dim % num_axes
    return logits.then(_T.unsqueeze, axis, hidden=logits.hidden.unsqueeze(axis))
