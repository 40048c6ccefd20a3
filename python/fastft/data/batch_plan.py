"""The batches of one epoch as data: printed, compared, hashed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fastft.data.index_lists import IndexLists, RepeatedBatch, bounds, shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BatchPlan", "RepeatedBatch"]


@dataclass(frozen=True, eq=False)
class BatchPlan(IndexLists):
    """The batches of one epoch; `plan[i]` is the list of examples of batch `i`.

    A batch that repeats an earlier one is a `RepeatedBatch`.

    Example:
        >>> BatchPlan(np.array([2, 0, 1]), np.array([0, 2, 3]))
        BatchPlan: 3 examples in 2 batches of 1 to 2
          0: [2, 0]
          1: [1]
    """

    indices: NDArray[np.int64]
    """int64 (N,): the examples of all batches, one batch after the other."""
    batch_offsets: NDArray[np.int64]
    """int64 (batches + 1,): where each batch begins."""
    repeated: NDArray[np.bool_] | None = None
    """bool (batches,): which batches repeat an earlier one; None when none does."""
    num_dropped: int = 0
    """Examples that are in no batch."""
    num_tokens: int | None = None
    """Tokens of all batches, repeated ones included; None where lengths play no part."""
    num_padded_tokens: int | None = None
    """The same with padding (rows times longest; in a packed batch there is none)."""
    max_tokens: int | None = None
    """The budget of a batch, where there is one."""

    def __len__(self) -> int:
        return len(self.batch_offsets) - 1

    def _list(self, index: int) -> list[int]:
        position, start, end = bounds(self.batch_offsets, index, "batch")
        batch: list[int] = self.indices[start:end].tolist()
        is_repeated = self.repeated is not None and self.repeated[position]
        return RepeatedBatch(batch) if is_repeated else batch

    def rows(self, position: int) -> NDArray[np.int64] | RepeatedBatch:
        """Gives batch `position`, counted from 0, as a view of int64 (B,) without a Python number.

        A batch that repeats an earlier one is a `RepeatedBatch` here too.
        """
        if self.repeated is not None and self.repeated[position]:
            return RepeatedBatch(self[position])
        return self.indices[self.batch_offsets[position] : self.batch_offsets[position + 1]]

    def filled(self, num_batches: int) -> BatchPlan:
        """Gives the plan with earlier batches repeated until it has `num_batches`.

        A plan that has as many or more stays as it is, and so does one of no batch.

        Example:
            >>> BatchPlan(np.array([2, 0, 1]), np.array([0, 2, 3])).filled(3)[2]
            [2, 0]
        """
        num_missing = num_batches - len(self)
        if num_missing <= 0 or not len(self):
            return self
        again = np.resize(np.arange(len(self)), num_missing)
        sizes = np.concatenate([np.diff(self.batch_offsets), np.diff(self.batch_offsets)[again]])
        rows = [
            self.indices,
            *(np.asarray(self[position], np.int64) for position in again.tolist()),
        ]
        return replace(
            self,
            indices=np.concatenate(rows),
            batch_offsets=np.concatenate([[0], np.cumsum(sizes)]),
            repeated=np.arange(num_batches) >= len(self)
            if self.repeated is None
            else np.concatenate([self.repeated, np.ones(num_missing, np.bool_)]),
            num_tokens=None,
            num_padded_tokens=None,
        )

    @property
    def num_repeated(self) -> int:
        """How many batches repeat an earlier one."""
        return 0 if self.repeated is None else int(self.repeated.sum())

    @property
    def padding(self) -> float | None:
        """The share of padded tokens that is padding; None where lengths play no part."""
        if self.num_tokens is None or self.num_padded_tokens is None:
            return None
        return 1 - self.num_tokens / self.num_padded_tokens if self.num_padded_tokens else 0.0

    @property
    def fill(self) -> float | None:
        """The share of all budgets that is filled, padding included; None without a budget."""
        if self.num_padded_tokens is None or self.max_tokens is None:
            return None
        return self.num_padded_tokens / (len(self) * self.max_tokens) if len(self) else 1.0

    def hash(self) -> str:
        """Gives a short hash of the batches and their order, to compare ranks and runs.

        Example:
            >>> BatchPlan(np.array([2, 0, 1]), np.array([0, 2, 3])).hash()
            '90e1fd5d233db612'
        """
        digest = hashlib.blake2b(digest_size=8)
        for array in (self.batch_offsets, self.indices):
            digest.update(np.ascontiguousarray(array, "<i8").data)
        if self.num_repeated:
            digest.update(np.packbits(self._repeated()).data)
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, BatchPlan)
            and np.array_equal(self.indices, other.indices)
            and np.array_equal(self.batch_offsets, other.batch_offsets)
            and np.array_equal(self._repeated(), other._repeated())
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        sizes = np.diff(self.batch_offsets)
        weighted = sizes[~self._repeated()].sum() if len(self) else 0
        head = f"BatchPlan: {weighted} examples in {len(self)} batches"
        if len(self):
            head += f" of {sizes.min()} to {sizes.max()}"
        if self.padding is not None:
            head += f", {100 * self.padding:.2f} % padding"
        if self.fill is not None:
            head += f", budget {100 * self.fill:.2f} % filled"
        counts = {
            f"left out: {self.num_dropped} examples": self.num_dropped,
            f"repeated without weight: {self.num_repeated} batches": self.num_repeated,
        }
        notes = [f"  {text}" for text, count in counts.items() if count]
        return "\n".join([head, *notes, *shown(self)])

    def _repeated(self) -> NDArray[np.bool_]:
        return np.zeros(len(self), np.bool_) if self.repeated is None else self.repeated
