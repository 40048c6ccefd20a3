"""Rows into as few bins as exact best-fit decreasing finds: `fastft.pack`.

The Rust core packs a million lengths in some milliseconds. A plan holds row numbers, no tokens: the
rows themselves stay where they are. Invariant: a pure function of the lengths and the arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastft import _fastft
from fastft.data.index_lists import IndexLists, bounds, shown
from fastft.data.lengths import MOST, at_least_one, checked_lengths, too_long
from fastft.data.overlong import POLICIES, checked_policy, cut_into_pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

Piece = tuple[int, int, int]
"""A row, and the first and the last but one of its tokens: `ids[row][start:stop]`."""


@dataclass(frozen=True, eq=False)
class PackPlan(IndexLists):
    """Which rows share a bin; `plan[i]` is the list of rows in bin `i`, the longest first.

    Example:
        >>> pack([3, 7, 2, 5, 3], 10)
        PackPlan: 5 rows in 2 bins of 10, 100.00 % filled
          0: [1, 0]
          1: [3, 4, 2]
    """

    indices: NDArray[np.int64]
    """int64 (N,): the rows of all bins, one bin after the other."""
    bin_offsets: NDArray[np.int64]
    """int64 (bins + 1,): where each bin begins in `indices`."""
    max_length: int
    """The most tokens a bin holds."""
    lengths: NDArray[np.uint32]
    """uint32 (rows,): the lengths that were given."""
    starts: NDArray[np.int64] | None = None
    """int64 (N,): where each piece begins in its row; None when all begin at 0."""
    num_tokens: int = 0
    """Tokens in all bins."""
    num_dropped: int = 0
    """Rows that are in no bin, because they are longer than one."""
    num_truncated_rows: int = 0
    """Rows of which only the first `max_length` tokens are in a bin."""
    num_truncated_tokens: int = 0
    """The tokens that these rows lose."""
    num_split_rows: int = 0
    """Rows that were cut into pieces."""

    def __len__(self) -> int:
        return len(self.bin_offsets) - 1

    def _list(self, index: int) -> list[int]:
        _, start, end = bounds(self.bin_offsets, index, "bin")
        rows: list[int] = self.indices[start:end].tolist()
        return rows

    def pieces(self, index: int) -> list[Piece]:
        """Gives what lies in a bin as (row, start, stop): tokens `start:stop` of the row.

        Raises:
            IndexError: There is no such bin.

        Example:
            >>> pack([5, 1], 3, overlong="split").pieces(1)
            [(0, 3, 5), (1, 0, 1)]
        """
        _, start, end = bounds(self.bin_offsets, index, "bin")
        rows = self.indices[start:end]
        starts = np.zeros(len(rows), np.int64) if self.starts is None else self.starts[start:end]
        stops = np.minimum(starts + self.max_length, self.lengths[rows])
        return list(zip(rows.tolist(), starts.tolist(), stops.tolist(), strict=True))

    @property
    def fill(self) -> float:
        """The share of all bins that is filled with tokens; 1 when there is no bin."""
        return self.num_tokens / (len(self) * self.max_length) if len(self) else 1.0

    def __repr__(self) -> str:
        what = "rows" if self.starts is None else "pieces"
        head = (
            f"PackPlan: {len(self.indices)} {what} in {len(self)} bins of {self.max_length}, "
            f"{self.fill:.2%} filled".replace("%", " %")
        )
        counts = {
            f"left out: {self.num_dropped} rows longer than a bin": self.num_dropped,
            f"truncated: {self.num_truncated_rows} rows, which lose {self.num_truncated_tokens} "
            "tokens": self.num_truncated_rows,
            f"split: {self.num_split_rows} rows longer than a bin": self.num_split_rows,
        }
        return "\n".join(
            [head, *(f"  {text}" for text, count in counts.items() if count), *shown(self)]
        )


def pack(lengths: Any, max_length: int, *, overlong: str = "error") -> PackPlan:
    """Packs rows into bins of at most `max_length` tokens, never cutting one that fits.

    Args:
        lengths: The number of tokens of each row (a list, an array of any integer type), or a
            `TokenDataset`. Rows without tokens are kept; they lie in the last bin.
        max_length: The most tokens of a bin.
        overlong: What to do with a row that is longer: "error"; "truncate" to its first
            `max_length` tokens; "split" into pieces of at most so many; "drop".

    Returns:
        The plan; what was lost is counted in it.

    Raises:
        DataError: These are no lengths.
        ConfigurationError: A row is too long, or an argument has no such value.

    Example:
        >>> pack([3, 7, 2, 5, 3], 10)[0]
        [1, 0]
    """
    rows = checked_lengths(lengths)
    limit = min(at_least_one(max_length, "max_length"), 2**63 - 1)
    checked_policy(overlong)
    if rows.max(initial=0) <= limit:
        return _packed(rows, limit)
    is_overlong = rows > limit
    num_overlong = int(is_overlong.sum())
    match overlong:
        case "drop":
            num_tokens = int(rows[~is_overlong].sum(dtype=np.int64))
            indices, offsets = _fastft.pack(rows, limit, drop_overlong=True)
            counts: dict[str, Any] = {"num_tokens": num_tokens, "num_dropped": num_overlong}
            return PackPlan(indices, offsets, limit, rows, **counts)
        case "truncate":
            return _truncated(rows, limit, num_overlong)
        case "split":
            return _split(rows, limit, num_overlong)
    others = " or ".join(f"overlong={policy!r}" for policy in POLICIES[1:])
    raise too_long(rows, limit, "max_length", others)


def _packed(rows: NDArray[np.uint32], limit: int) -> PackPlan:
    indices, offsets = _fastft.pack(rows, limit)
    return PackPlan(indices, offsets, limit, rows, num_tokens=int(rows.sum(dtype=np.int64)))


def _truncated(rows: NDArray[np.uint32], limit: int, num_rows: int) -> PackPlan:
    kept = np.minimum(rows, np.uint32(min(limit, MOST)))
    indices, offsets = _fastft.pack(kept, limit)
    num_tokens = int(kept.sum(dtype=np.int64))
    return PackPlan(
        indices,
        offsets,
        limit,
        rows,
        num_tokens=num_tokens,
        num_truncated_rows=num_rows,
        num_truncated_tokens=int(rows.sum(dtype=np.int64)) - num_tokens,
    )


def _split(rows: NDArray[np.uint32], limit: int, num_rows: int) -> PackPlan:
    pieces = cut_into_pieces(rows, limit)
    order, offsets = _fastft.pack(pieces.lengths, limit)
    return PackPlan(
        pieces.rows[order],
        offsets,
        limit,
        rows,
        starts=pieces.starts[order],
        num_tokens=int(rows.sum(dtype=np.int64)),
        num_split_rows=num_rows,
    )
