"""What encoding gives: the ids of all rows in one array, and where each row begins.

What was not asked for is None.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fastft.data.type_ids import TypeIds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Cut(Protocol):
    """What has been cut to a length, and counts what it lost; see `TokenBatch`."""

    @property
    def num_truncated_rows(self) -> int:
        """How many rows lost tokens."""

    @property
    def num_truncated_tokens(self) -> int | None:
        """How many tokens they lost, where these were counted."""

    @property
    def num_truncated_characters(self) -> int | None:
        """How many characters they lost, where these were counted."""


@dataclass(frozen=True)
class TokenBatch:
    """Encoded rows, flat: row `i` is `ids[row_offsets[i]:row_offsets[i + 1]]`.

    Example:
        >>> import numpy as np
        >>> batch = TokenBatch(np.array([5, 6, 7], np.uint32), np.array([0, 1, 3], np.uint64))
        >>> len(batch), batch.row(1).tolist()
        (2, [6, 7])
    """

    ids: NDArray[np.uint32]
    """uint32 (N,): the token ids of all rows."""
    row_offsets: NDArray[np.uint64]
    """uint64 (rows + 1,): where each row begins."""
    type_ids: TypeIds = field(default_factory=TypeIds)
    """The token type ids."""
    num_truncated_rows: int = 0
    """How many rows lost tokens to `max_length`."""
    num_truncated_tokens: int | None = 0
    """How many tokens they lost; None where characters were counted instead."""
    num_truncated_characters: int | None = None
    """How many characters they lost, None where tokens were counted: those that stand in their
    texts behind the last token that was kept (its end as `offset_mapping` has it), or all of a text
    that kept no token."""
    offset_mapping: NDArray[np.uint32] | None = None
    """uint32 (N, 2): the characters of its text that each token covers; 0, 0 for special tokens."""
    word_ids: NDArray[np.int32] | None = None
    """int32 (N,): the word of its text that each token belongs to; -1 for special tokens."""
    special_tokens_mask: NDArray[np.uint8] | None = None
    """uint8 (N,): 1 for the tokens that were added around the text."""
    overflow_to_sample_mapping: NDArray[np.int64] | None = None
    """int64 (rows,): the text that each row comes from, when one text may give several."""

    def __len__(self) -> int:
        return len(self.row_offsets) - 1

    def row(self, index: int) -> NDArray[np.uint32]:
        """Gives the ids of one row, uint32 (length,); raises IndexError beyond the last."""
        start, end = self._ends(index)
        return self.ids[start:end]

    def row_type_ids(self, index: int) -> NDArray[np.uint8]:
        """Gives the token type ids of one row, uint8 (length,)."""
        return self.type_ids.row(index, *self._ends(index))

    def _ends(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of a batch of {len(self)} rows")
        return int(self.row_offsets[index]), int(self.row_offsets[index + 1])


def truncation_counts(batches: Sequence[TokenBatch]) -> dict[str, Any]:
    """Adds the counts of batches that were encoded with the same options."""

    def total(counts: list[int | None]) -> int | None:
        known = [count for count in counts if count is not None]
        return sum(known) if known else None

    return {
        "num_truncated_rows": sum(batch.num_truncated_rows for batch in batches),
        "num_truncated_tokens": total([batch.num_truncated_tokens for batch in batches]),
        "num_truncated_characters": total([batch.num_truncated_characters for batch in batches]),
    }


def row_lengths(row_offsets: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Gives the length of each row, uint32 (rows,)."""
    return (row_offsets[1:] - row_offsets[:-1]).astype(np.uint32)
