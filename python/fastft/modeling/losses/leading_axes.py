"""Which indices and shapes leave the last axis of a tensor alone: pure rules, no tensor is made."""

from __future__ import annotations

from typing import Any

import torch


def reshaped(shape: tuple[int, ...], asked: tuple[Any, ...]) -> tuple[int, ...] | None:
    """Gives the leading axes of a new shape, or None when the last axis would change.

    Args:
        shape: The shape that is there.
        asked: The shape that was asked for; one axis may be -1.

    Returns:
        All of the new shape but its last axis.

    Example:
        >>> reshaped((2, 3, 5), (-1, 5)), reshaped((2, 3, 5), (6, -1)), reshaped((2, 3, 5), (-1,))
        ((6,), (6,), None)
    """
    if not all(isinstance(one, int) for one in asked) or 0 in shape or len(asked) < 1:
        return None
    known, count = 1, 1
    for one in asked:
        known *= one if one != -1 else 1
    for one in shape:
        count *= one
    holes = sum(one == -1 for one in asked)
    if holes > 1 or known <= 0 or count % known or (not holes and known != count):
        return None
    full = tuple(count // known if one == -1 else int(one) for one in asked)
    return full[:-1] if full[-1] == shape[-1] else None


def leaves_last(index: Any, num_axes: int) -> bool:
    """Whether `tensor[index]` keeps the last axis whole and last.

    Args:
        index: What stands in the brackets.
        num_axes: The axes of the tensor.

    Example:
        >>> leaves_last((..., slice(None, -1), slice(None)), 3), leaves_last((..., 0), 3)
        (True, False)
    """
    parts = index if isinstance(index, tuple) else (index,)
    taken = [_axes_taken(part) for part in parts]
    num_dots = sum(part is Ellipsis for part in parts)
    if any(one is None for one in taken) or num_dots > 1 or not parts:
        return False
    total = sum(one for one in taken if one is not None)
    if total > num_axes:
        return False
    reaches_last = total == num_axes or (num_dots == 1 and parts[-1] is not Ellipsis)
    return not reaches_last or _is_whole(parts[-1])


def _axes_taken(part: Any) -> int | None:
    """How many axes a part of an index takes; None when it is of a kind that is not known."""
    if part is Ellipsis or part is None:
        return 0
    if isinstance(part, slice) or (isinstance(part, int) and not isinstance(part, bool)):
        return 1
    if type(part) is torch.Tensor and part.dtype in (torch.bool, torch.int64, torch.int32):
        return part.dim() if part.dtype == torch.bool else 1
    return None


def _is_whole(part: Any) -> bool:
    return isinstance(part, slice) and part == slice(None)
