"""Where the loss of the batch at hand has to look: from the batch to the head, past the model.

A batch of our collators knows the positions whose label counts. The model between batch and head
does not pass them on, so they travel in a context variable, which threads and tasks do not share.
They are used only where they surely belong to the labels that the loss is asked for: rows and width
must be those of the batch, and every label that counts must be among them.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from fastft.modeling.losses.targets import may_look

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class _Supervision:
    batch: Any
    loss_alone: bool


_CURRENT: ContextVar[_Supervision | None] = ContextVar("fastft_supervised", default=None)


@contextlib.contextmanager
def supervised(batch: Any, *, loss_alone: bool = True) -> Iterator[None]:
    """Tells a fused head which batch its loss is for.

    Args:
        batch: A batch of our collators, or anything else, which then tells nothing.
        loss_alone: Whether only the loss is wanted. A fused head then keeps no logits in an
            evaluation either, where otherwise it makes them.

    Yields:
        Nothing.

    Example:
        >>> with fastft.supervised(batch):                         # doctest: +SKIP
        ...     loss = model(**batch).loss
    """
    token = _CURRENT.set(_Supervision(batch, loss_alone))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def wants_loss_alone() -> bool:
    """Whether the caller said that only the loss is wanted."""
    current = _CURRENT.get()
    return current is not None and current.loss_alone


def supervised_rows(
    labels: torch.Tensor, ignore_index: int
) -> tuple[torch.Tensor, torch.Tensor | None] | None:
    """Gives the rows whose label counts, as the batch knows them.

    Args:
        labels: int64 (N,), as the loss got them: shifted already where the model shifts.
        ignore_index: The label of rows that do not count.

    Returns:
        int64 (M,), and on a GPU a 0-d bool that says whether they belong to these labels (to ask
        there would wait); None where there is no batch or it is not that of these labels.
    """
    current = _CURRENT.get()
    index = None if current is None else getattr(current.batch, "loss_index", None)
    if current is None or not isinstance(index, torch.Tensor) or ignore_index != -100:
        return None
    if index.device != labels.device or not hasattr(current.batch, "predicts_next"):
        return None
    index = _in_width(index, current.batch, len(labels))
    if index is None:
        return None
    if not may_look(labels) and not _may_belong(labels, current.batch):
        return None
    counts = labels != ignore_index
    if not may_look(labels):
        return index, _are_all(index, counts)
    return (index, None) if _lies_within(index, counts) and _are_all(index, counts) else None


def _are_all(index: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Whether every row that counts is there, once, and no other; () bool."""
    found = torch.zeros_like(counts).index_fill(0, index, True)
    return (found == counts).all() & (counts.sum() == len(index))


def _lies_within(index: torch.Tensor, rows: torch.Tensor) -> bool:
    if not len(index):
        return True
    low, high = torch.aminmax(index)
    return int(low) >= 0 and int(high) < len(rows)


def _may_belong(labels: torch.Tensor, batch: Any) -> bool:
    """Whether the model shifts labels as the batch expects, as far as the host can see.

    A model that predicts the label of each position itself hands on the labels of the batch, where
    they lie; one that predicts the next makes new ones.
    """
    own = _own_labels(batch)
    is_own = labels.data_ptr() == own.data_ptr() and labels.numel() == own.numel()
    return is_own is not batch.predicts_next


def _in_width(index: torch.Tensor, batch: Any, num_rows: int) -> torch.Tensor | None:
    """Moves positions of (B, T) to those of (B, T - 1), where a loss cut off the last of a row."""
    labels = _own_labels(batch)
    if labels is None or labels.numel() == 0:
        return None
    width = labels.shape[-1]
    if num_rows == labels.numel():
        return index
    if batch.predicts_next and num_rows == labels.numel() // width * (width - 1):
        return index - torch.div(index, width, rounding_mode="floor")
    return None


def _own_labels(batch: Any) -> Any:
    own = getattr(batch, "own_labels", None)
    return batch.get("labels") if own is None else own
