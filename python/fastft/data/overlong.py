"""Rows that are longer than allowed: refused, truncated, split or dropped, never in silence.

Tokens and columns of a dataset follow its rows. Splitting refines the offsets and shares the ids;
truncating and dropping copy what is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.data.lengths import MOST, at_least_one, too_long
from fastft.data.ragged_column import RaggedColumn
from fastft.data.type_ids import TypeIds
from fastft.errors import ColumnError, ConfigurationError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

POLICIES = ("error", "truncate", "split", "drop")
"""What can be done with a row that is too long."""


def checked_policy(overlong: Any, policies: Sequence[str] = POLICIES) -> str:
    """Gives the policy.

    Raises:
        ConfigurationError: There is no such policy.
    """
    if overlong not in policies:
        close = nearest(str(overlong), policies, count=1)
        raise ConfigurationError(
            "there is no such way to treat rows that are too long",
            place="overlong",
            found=repr(overlong),
            expected=" or ".join(map(repr, policies)),
            fix=f"overlong={close[0]!r}" if close else None,
        )
    return str(overlong)


def counts_after(
    counts: Mapping[str, Any], overlong: str, num_rows: int, num_lost: int
) -> dict[str, Any]:
    """Gives what a dataset has lost after its rows were made to fit.

    Args:
        counts: What it had lost before, as `TokenDataset` takes it.
        overlong: One of `POLICIES`.
        num_rows: How many rows were too long.
        num_lost: How many tokens they lost.
    """
    after = dict(counts)
    if overlong == "truncate":
        after["num_truncated_rows"] += num_rows
        after["num_truncated_tokens"] = (after["num_truncated_tokens"] or 0) + num_lost
    else:
        after["num_dropped_rows" if overlong == "drop" else "num_split_rows"] += num_rows
    return after


@dataclass(frozen=True)
class Pieces:
    """Runs of at most so many tokens that cover all rows; a row without tokens is one piece."""

    rows: NDArray[np.int64]
    """int64 (pieces,): the row of each piece."""
    starts: NDArray[np.int64]
    """int64 (pieces,): where the piece begins in its row."""
    lengths: NDArray[np.uint32]
    """uint32 (pieces,): its number of tokens."""


def cut_into_pieces(lengths: NDArray[np.uint32], max_length: int) -> Pieces:
    """Cuts each row into full pieces and one with what is left.

    Example:
        >>> cut_into_pieces(np.array([5, 0], np.uint32), 2).lengths
        array([2, 2, 1, 0], dtype=uint32)
    """
    wide = lengths.astype(np.int64)
    counts = np.maximum(-(-wide // max_length), 1)
    rows = np.repeat(np.arange(len(lengths)), counts)
    first_pieces = np.cumsum(counts) - counts
    starts = (np.arange(len(rows)) - first_pieces[rows]) * max_length
    return Pieces(rows, starts, np.minimum(wide[rows] - starts, max_length).astype(np.uint32))


def fitted(
    arrays: tuple[NDArray[Any], NDArray[np.uint64], TypeIds],
    columns: Mapping[str, Any],
    lengths: NDArray[np.uint32],
    max_length: int,
    overlong: str,
) -> dict[str, Any]:
    """Makes the rows of a dataset fit.

    Args:
        arrays: Ids, row offsets and type ids.
        columns: Its columns.
        lengths: The length of each row.
        max_length: The most tokens a row may have.
        overlong: One of `POLICIES`.

    Returns:
        Arguments of `TokenDataset`: `ids`, `row_offsets`, `type_ids`, `columns`.

    Raises:
        ConfigurationError: A row is too long and the policy is "error"; a wrong argument.
        ColumnError: Rows are to be split, and it is unclear how a column should follow.
    """
    limit = min(at_least_one(max_length, "max_length"), MOST)
    checked_policy(overlong)
    if lengths.max(initial=0) <= limit:
        return _keep(arrays, columns)
    match overlong:
        case "truncate":
            return _truncated(arrays, columns, lengths, limit)
        case "drop":
            return _without(arrays, columns, lengths, lengths <= limit)
        case "split":
            return _split(arrays, columns, lengths, limit)
    others = " or ".join(f"overlong={policy!r}" for policy in POLICIES[1:])
    raise too_long(lengths, limit, "max_length", others)


def _keep(arrays: Any, columns: Mapping[str, Any]) -> dict[str, Any]:
    ids, row_offsets, type_ids = arrays
    return {
        "ids": ids,
        "row_offsets": row_offsets,
        "type_ids": type_ids,
        "columns": dict(columns),
    }


def _truncated(
    arrays: Any, columns: Mapping[str, Any], lengths: NDArray[np.uint32], limit: int
) -> dict[str, Any]:
    ids, _, type_ids = arrays
    kept = np.minimum(lengths, np.uint32(limit))
    # A run of kept tokens, then a run of lost ones, for every row.
    runs = np.stack([kept, lengths - kept], axis=1).ravel()
    mask = np.repeat(np.tile([True, False], len(lengths)), runs)
    starts = type_ids.second_segment_starts
    type_ids = TypeIds(
        None if starts is None else np.minimum(starts, kept),
        None if type_ids.flat is None else type_ids.flat[mask],
    )
    offsets = _offsets(kept)

    def follow(name: str, column: Any) -> Any:
        if _has_lengths(column, lengths):
            return RaggedColumn(column.values[mask], offsets.astype(np.int64))
        return column

    return _keep((ids[mask], offsets, type_ids), _following(columns, follow))


def _without(
    arrays: Any, columns: Mapping[str, Any], lengths: NDArray[np.uint32], keep: NDArray[np.bool_]
) -> dict[str, Any]:
    ids, _, type_ids = arrays
    mask = np.repeat(keep, lengths)
    starts = type_ids.second_segment_starts
    type_ids = TypeIds(
        None if starts is None else starts[keep],
        None if type_ids.flat is None else type_ids.flat[mask],
    )

    def follow(name: str, column: Any) -> Any:
        if not isinstance(column, RaggedColumn):
            return column[keep]
        values = column.values[np.repeat(keep, column.lengths)]
        return RaggedColumn(values, _offsets(column.lengths[keep]).astype(np.int64))

    kept = (ids[mask], _offsets(lengths[keep]), type_ids)
    return _keep(kept, _following(columns, follow))


def _split(
    arrays: Any, columns: Mapping[str, Any], lengths: NDArray[np.uint32], limit: int
) -> dict[str, Any]:
    ids, _, type_ids = arrays
    pieces = cut_into_pieces(lengths, limit)
    offsets = _offsets(pieces.lengths)
    if type_ids.second_segment_starts is not None:
        # Where the ones begin, seen from each piece: before it (0), inside, or behind it.
        starts = type_ids.second_segment_starts.astype(np.int64)[pieces.rows] - pieces.starts
        type_ids = TypeIds(np.clip(starts, 0, pieces.lengths).astype(np.uint32))

    def follow(name: str, column: Any) -> Any:
        if not isinstance(column, RaggedColumn):
            return column[pieces.rows]
        if not _has_lengths(column, lengths):
            raise ColumnError(
                "rows cannot be split while this column has a run of values a row, not one a token",
                place=f"column {name!r}",
                fix="overlong='truncate' or 'drop', or make the dataset without the column",
            )
        return RaggedColumn(column.values, offsets.astype(np.int64))

    return _keep((ids, offsets, type_ids), _following(columns, follow))


def _following(columns: Mapping[str, Any], follow: Callable[[str, Any], Any]) -> dict[str, Any]:
    return {name: follow(name, column) for name, column in columns.items()}


def _has_lengths(column: Any, lengths: NDArray[np.uint32]) -> bool:
    """Whether a column has a value for every token."""
    return isinstance(column, RaggedColumn) and np.array_equal(column.lengths, lengths)


def _offsets(lengths: NDArray[Any]) -> NDArray[np.uint64]:
    offsets = np.zeros(len(lengths) + 1, np.uint64)
    np.cumsum(lengths, out=offsets[1:], dtype=np.uint64)
    return offsets
