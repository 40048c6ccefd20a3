"""What a collator gives: the stock batch, which also knows where its loss has to look.

The keys are those of the stock collator, so `model(**batch)` sees nothing else. What is known
besides are attributes: the rows that the batch was made of, and the positions that the loss counts.
Finding these takes as long as making the batch, so they are looked for when somebody first asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import transformers

from fastft import _fastft

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class _Supervised:
    """The attributes of a batch.

    They follow the batch where `.to(device)` moves it. A copy that somebody makes of its keys alone
    (as `transformers.Trainer` does in `_prepare_inputs`) does not have them: there they are None,
    unless the attributes are handed on, as `fastft.Trainer` does. Where somebody puts other labels
    into the batch, they are None too. Labels that are changed in place are looked at anew, and in a
    batch that was moved, where that might wait for a device, the attributes become None.
    """

    data: Any

    rows: NDArray[np.int64] | None = None
    """int64 (B,): the rows of the data set that the batch was made of."""
    predicts_next: bool | None = None
    """Whether position t predicts the label of t + 1 in its row; None without labels of tokens."""

    _labels: torch.Tensor | None = None
    """The labels as they were made, on the CPU."""
    _moved_labels: torch.Tensor | None = None
    """The same where the batch was moved to."""
    _moved_versions: tuple[int | None, ...] = ()
    """How often these and those had been changed in place by then."""
    _found_version: int | None = None
    """How often `_labels` had been changed when positions were looked for."""
    _found: tuple[torch.Tensor, torch.Tensor] | None = None

    @property
    def loss_index(self) -> torch.Tensor | None:
        """int64 (N,): the positions whose label counts, in order; None without labels of tokens.

        A position is `row * T + t` in the labels (B, T) of the batch, so it points into
        `logits.flatten(0, 1)` where these have the same width. A label counts when it is not -100.
        Where `predicts_next`, position t is here when the label of t + 1 in the same row counts;
        otherwise when its own does.
        """
        found = self._loss_positions()
        return None if found is None else found[0]

    @property
    def loss_labels(self) -> torch.Tensor | None:
        """int64 (N,): the label that each position of `loss_index` predicts."""
        found = self._loss_positions()
        return None if found is None else found[1]

    @property
    def num_loss_tokens(self) -> int | None:
        """N, the number of labels that count."""
        found = self._positions()
        return None if found is None else len(found[0])

    @property
    def own_labels(self) -> torch.Tensor | None:
        """The labels that the positions are of, where the batch is, also when they were taken out.

        So `Trainer` does with label smoothing. None without positions.
        """
        return self._where_they_are() if self._has_own_labels() else None

    def pin_memory(self) -> Any:
        """Gives a batch in pinned memory, with the attributes; torch's loaders ask for it."""
        pinned: Any = type(self)()
        for name, value in self.items():  # type: ignore[attr-defined]
            pinned[name] = value.pin_memory() if isinstance(value, torch.Tensor) else value
        return self.hand_on_to(pinned)

    def hand_on_to(self, other: Any) -> Any:
        """Gives `other`, a copy of this batch, the attributes too; returns it."""
        has_labels = self._has_own_labels()
        for name, value in self.__dict__.items():
            if name not in _KEYS:
                setattr(other, name, value)
        other._labels = self._labels if has_labels else None
        other._note_move()
        return other

    def _note_move(self) -> None:
        """Notes that the present labels are now those that the batch was made with."""
        self._moved_labels = self._present_labels()
        self._moved_versions = _version(self._moved_labels), _version(self._labels)

    def _where_they_are(self) -> torch.Tensor | None:
        return self._labels if self._moved_labels is None else self._moved_labels

    def _has_own_labels(self) -> bool:
        """Whether the labels are those that the batch was made with, or were taken out of it."""
        own, now = self._where_they_are(), self._present_labels()
        if own is None or not (now is None or now is own):
            return False
        if own is self._labels:
            return True
        return (_version(own), _version(self._labels)) == self._moved_versions

    def _present_labels(self) -> Any:
        labels: Any = self.get("labels")  # type: ignore[attr-defined]
        return labels

    def _device(self) -> torch.device:
        values = self.values()  # type: ignore[attr-defined]
        devices = (value.device for value in values if isinstance(value, torch.Tensor))
        return next(devices, torch.device("cpu"))

    def _positions(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The positions and their labels, wherever they are."""
        if self._labels is None or not self._has_own_labels():
            return None
        version = _version(self._labels)
        if self._found is None or version != self._found_version:
            labels = self._labels.numpy()
            arrays = _fastft.loss_positions(labels, predicts_next=bool(self.predicts_next))
            self._found = torch.from_numpy(arrays[0]), torch.from_numpy(arrays[1])
            self._found_version = version
        return self._found

    def _loss_positions(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The same where the batch is."""
        found = self._positions()
        device = self._device()
        if found is not None and found[0].device != device:
            # Without waiting for what the device has to do before.
            index, labels = (one.to(device, non_blocking=True) for one in found)
            found = self._found = index, labels
        return found


def _version(tensor: Any) -> int | None:
    """How often a tensor was changed in place; torch does not count it for those of inference."""
    is_counted = isinstance(tensor, torch.Tensor) and not tensor.is_inference()
    return tensor._version if is_counted else None


class Batch(_Supervised, transformers.BatchEncoding):  # type: ignore[misc]
    """A padded batch: a `BatchEncoding`, with `loss_index`, `loss_labels`, `num_loss_tokens`."""

    def to(self, device: Any, *, non_blocking: bool = False) -> Batch:
        """Moves the tensors, and with them the attributes; gives the same batch."""
        has_labels = self._has_own_labels()
        super().to(device, non_blocking=non_blocking)
        if has_labels:
            self._note_move()
        return self

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__.copy()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class FlattenedBatch(_Supervised, dict[str, Any]):
    """A flattened batch: a dict, as the stock collator gives, with the same attributes."""

    lengths: NDArray[np.integer[Any]] | None = None
    """(B,): the tokens of each row that the batch was made of."""

    def to(self, device: Any, *, non_blocking: bool = False) -> FlattenedBatch:
        """Moves the tensors, and with them the attributes; gives the same batch."""
        has_labels = self._has_own_labels()
        for name, value in self.items():
            if isinstance(value, torch.Tensor):
                self[name] = value.to(device, non_blocking=non_blocking)
        if has_labels:
            self._note_move()
        return self


_EMPTY = Batch().__dict__
_KEYS = frozenset(_EMPTY)
"""What an empty batch consists of; to copy it is much less work than to make one."""


def padded_batch(
    tensors: dict[str, Any], rows: NDArray[np.int64], predicts_next: bool | None = None
) -> Batch:
    """Gives a `Batch` of tensors that nobody has to look at again.

    Args:
        tensors: The tensors by name; kept as they are, not key by key.
        rows: The rows that it was made of.
        predicts_next: How its loss finds the labels in `tensors["labels"]`, int64 (B, T); None
            where there are no labels of tokens.
    """
    batch = Batch.__new__(Batch)
    batch.__dict__ = {**_EMPTY, "data": tensors, "rows": rows}
    if predicts_next is not None:
        batch.predicts_next = predicts_next
        batch._labels = tensors["labels"]
    return batch


def flattened_batch(
    tensors: dict[str, Any],
    rows: NDArray[np.int64] | None,
    *,
    lengths: NDArray[np.integer[Any]],
    predicts_next: bool = True,
) -> FlattenedBatch:
    """Gives a `FlattenedBatch` of tensors.

    Args:
        tensors: The tensors by name, `labels` among them.
        rows: The rows that it was made of.
        lengths: Their tokens.
        predicts_next: Whether position t predicts the label of t + 1, and not its own.
    """
    batch = FlattenedBatch(tensors)
    batch.rows = rows
    batch.lengths = lengths
    batch.predicts_next = predicts_next
    batch._labels = tensors["labels"]
    return batch
