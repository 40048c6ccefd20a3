"""Rows from which nothing is learnt, because their labels were cut away: counted and named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastft.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastft.data.sources import Split
    from fastft.data.token_batch import Cut

# A share of rows without anything to learn that nobody would accept in silence.
MOST_UNSUPERVISED = 0.01
_MOST_PLACES = 3


def supervision_notes(
    split: Split, rows: NDArray[Any], *, problem: str, expected: str, fix: str
) -> tuple[str, ...]:
    """Says from how many rows nothing is learnt, and which.

    Args:
        split: The split.
        rows: The rows without a label that counts.
        problem: What happened to such a row: "the answer lies in no window".
        expected: What a row should have.
        fix: Which argument to change.

    Raises:
        DataError: More than one row in a hundred has nothing to learn.
    """
    count, total = len(rows), split.table.num_rows
    if not count:
        return ()
    share = f"{count:,} of {total:,} rows"
    if count > MOST_UNSUPERVISED * total and count > 1:
        raise DataError(
            problem,
            place=split.place(int(rows[0])),
            found=f"{share} like this, more than {MOST_UNSUPERVISED:.0%}",
            expected=expected,
            fix=fix,
        )
    places = "; ".join(split.place(int(row)) for row in rows[:_MOST_PLACES])
    more = f"; and {count - _MOST_PLACES:,} more" if count > _MOST_PLACES else ""
    return (f"{split.name}: in {share} {problem}: {places}{more}",)


def percent(share: float) -> str:
    """Writes a share in per cent with two digits.

    Example:
        >>> percent(0.0123), percent(99.8)
        ('0.012 %', '100 %')
    """
    return f"{float(f'{share:.2g}'):g} %"


def lost_text(cut: Cut, num_kept: int | None = None) -> str:
    """Says how much rows lost to a limit, in what was counted.

    Args:
        cut: What counted it.
        num_kept: How many tokens are left, for the share of those that were lost.

    Example:
        >>> from fastft.data.token_batch import TokenBatch
        >>> batch = TokenBatch(None, None, num_truncated_rows=1, num_truncated_tokens=1234)
        >>> lost_text(batch), lost_text(batch, 3702)
        ('1,234 tokens', '1,234 tokens (25 % of all)')
    """
    lost = cut.num_truncated_tokens
    if lost is None:
        return f"{cut.num_truncated_characters or 0:,} characters"
    share = "" if num_kept is None else f" ({percent(100 * lost / (num_kept + lost))} of all)"
    return f"{lost:,} tokens{share}"
