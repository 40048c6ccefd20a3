"""What is known of logits that are not there: what they are, and how they would lie in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from fastft.modeling.losses.lazy_source import Op

METADATA = (
    frozenset(
        getattr(torch.Tensor, name).__get__
        for name in (
            *("shape", "dtype", "device", "ndim", "layout", "requires_grad", "is_leaf", "grad_fn"),
            *("_base", "is_cuda", "is_cpu", "is_sparse", "is_nested", "is_quantized", "is_meta"),
            *("is_mps", "is_xla", "is_xpu", "itemsize", "nbytes", "_version", "output_nr"),
        )
    )
    | {
        getattr(torch.Tensor, name)
        for name in (
            *("size", "dim", "ndimension", "numel", "nelement", "get_device", "is_inference"),
            *("is_floating_point", "is_complex", "is_signed", "element_size", "__len__"),
        )
    }
    | {torch.is_floating_point, torch.is_complex, torch.numel}
)
"""What is known of a tensor without its values."""

LAYOUT = frozenset((torch.Tensor.stride, torch.Tensor.is_contiguous, torch.Tensor.storage_offset))
"""What depends on how the values lie in memory."""


def layout_after(
    before: torch.Tensor | None, ops: tuple[Op, ...], shape: torch.Size
) -> torch.Tensor | None:
    """Gives a tensor of `shape`, without memory, that lies as the last of `ops` makes it.

    Args:
        before: What lies as the values before that do; None where nobody knows.
        ops: What was done since the head.
        shape: The shape afterwards.

    Returns:
        A tensor on the meta device; None where the operation does not say how its result lies.
    """
    func, args, kwargs = ops[-1]
    if before is None:
        # A copy whose axes lie in an order that depends on what it was taken of is put in order.
        is_put_in_order = func is torch.Tensor.contiguous and _is_copy(ops[-2:-1])
        return torch.empty(shape, device="meta") if is_put_in_order else None
    if func is torch.Tensor.__getitem__ and _tensor_axes(args[0]):
        # How many rows a mask leaves, `shape` knows.
        is_copy = before.is_contiguous() and _is_copy(ops[-1:])
        return before.new_empty(shape) if is_copy else None
    moved = [one.to("meta") if isinstance(one, torch.Tensor) else one for one in args]
    layout: torch.Tensor = func(before, *moved, **kwargs)
    return layout


def _is_copy(ops: tuple[Op, ...]) -> bool:
    """Whether an operation takes elements by tensors; single numbers would give a view."""
    return any(
        func is torch.Tensor.__getitem__ and max(_tensor_axes(args[0]), default=0)
        for func, args, _ in ops
    )


def _tensor_axes(index: Any) -> list[int]:
    """The number of axes of each tensor of an index."""
    parts = index if isinstance(index, tuple) else (index,)
    return [one.dim() for one in parts if isinstance(one, torch.Tensor)]


def share_memory(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether a change in place of one is seen in the other."""
    same: bool = one.untyped_storage()._cdata == other.untyped_storage()._cdata
    return same
