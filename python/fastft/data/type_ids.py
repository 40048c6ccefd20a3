"""Token type ids in the smallest form that holds them, as the Rust core keeps them.

Most columns are single texts (all zeros) or pairs in BERT's shape (zeros, then ones): for these
nothing, or one number a row, is kept. Any other shape is kept with one value a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class TypeIds:
    """The token type ids of a column of rows; without either array all are zero."""

    second_segment_starts: NDArray[np.uint32] | None = None
    """uint32 (rows,): where the ones begin in each row; the row's length where there are none."""
    flat: NDArray[np.uint8] | None = None
    """uint8 (N,): the type id of every token."""

    def row(self, index: int, start: int, end: int) -> NDArray[np.uint8]:
        """Gives the type ids of one row, which holds the flat ids `start` to `end`.

        Returns:
            uint8 (end - start,)

        Example:
            >>> TypeIds(np.array([2], np.uint32)).row(0, 0, 3).tolist()
            [0, 0, 1]
        """
        if self.flat is not None:
            return self.flat[start:end]
        type_ids = np.zeros(end - start, np.uint8)
        if self.second_segment_starts is not None:
            type_ids[int(self.second_segment_starts[index]) :] = 1
        return type_ids

    def expanded(self, lengths: NDArray[np.uint32]) -> NDArray[np.uint8]:
        """Gives one type id a token: uint8 (sum of `lengths`,)."""
        if self.flat is not None:
            return self.flat
        if self.second_segment_starts is None:
            return np.zeros(int(lengths.sum()), np.uint8)
        runs = np.stack([self.second_segment_starts, lengths - self.second_segment_starts], axis=1)
        return np.repeat(np.tile(np.array([0, 1], np.uint8), len(lengths)), runs.ravel())


def concatenate(parts: Sequence[tuple[TypeIds, NDArray[np.uint32]]]) -> TypeIds:
    """Joins the type ids of several columns, each given with the lengths of its rows."""
    if any(type_ids.flat is not None for type_ids, _ in parts):
        return TypeIds(flat=np.concatenate([ids.expanded(lengths) for ids, lengths in parts]))
    if all(type_ids.second_segment_starts is None for type_ids, _ in parts):
        return TypeIds()
    starts = [
        lengths if type_ids.second_segment_starts is None else type_ids.second_segment_starts
        for type_ids, lengths in parts
    ]
    return TypeIds(second_segment_starts=np.concatenate(starts))
