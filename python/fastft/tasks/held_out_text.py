"""A validation part of plain text: whole documents, or the end of the only one.

Invariant: nothing that is validated on is trained on, and the two sides together are the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fastft.data.origins import Origin
from fastft.data.sources import Split
from fastft.data.splits import cut_validation
from fastft.data.text_column import buffers
from fastft.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# How far from the exact share a line end is looked for.
_SEARCH_BYTES = 2**16


@dataclass(frozen=True)
class DocumentPart:
    """A part of one document.

    Attributes:
        document: The place of the document.
        first_line: The line where the part begins, counted from 1.
        share: How much of the document it is.
    """

    document: str
    first_line: int
    share: float
    count: int = 1

    def place(self, row: int) -> str:
        """Returns `novel.txt, from line 2,101 on`."""
        if self.first_line == 1:
            return self.document
        return f"{self.document}, from line {self.first_line:,} on"


def hold_out_text(
    split: Split, column: str, texts: pa.ChunkedArray, *, fraction: float, seed: int
) -> tuple[Split, Split]:
    """Cuts a validation split off.

    Of several documents a share is drawn at random, equal ones together; of a single one the end is
    taken, from a line end on.

    Args:
        split: The training split.
        column: The column of the text.
        texts: What it holds.
        fraction: The share that is held back.
        seed: The seed of the draw.

    Raises:
        DataError: The text is too short.
        ConfigurationError: The fraction is not between 0 and 1.
    """
    if split.table.num_rows > 1:
        same = np.zeros(split.table.num_rows, np.int64)
        return cut_validation(split, same, texts, fraction=fraction, seed=seed)
    if not 0.0 < fraction < 1.0:
        raise ConfigurationError(
            "the share of the validation text is not between 0 and 1",
            place="argument validation",
            found=repr(fraction),
            fix="pass a share such as 0.1",
        )
    data, offsets = buffers(texts)
    text = data[offsets[0] : offsets[1]]
    cut = _cut(text, round(len(text) * (1 - fraction)))
    if not text[:cut].tobytes().strip() or not text[cut:].tobytes().strip():
        raise DataError(
            "the only document is too short to hold a part of it back",
            place=split.place(0, column),
            found=f"{len(text):,} bytes",
            expected="text on both sides of a line end or space",
            fix="add text, or pass validation=None",
        )
    line = int(np.count_nonzero(text[:cut] == ord("\n"))) + 1
    return (
        _part(split, "train", column, text[:cut], 1),
        _part(split, "validation", column, text[cut:], line, 1 - cut / len(text)),
    )


def tail_note(split: Split) -> str | None:
    """Says so when a validation split is the end of the only document."""
    run: Any = split.origin.runs[0]
    if split.name != "validation" or not isinstance(run, DocumentPart):
        return None
    return f"validation: the last {run.share:.1%} of the only document: {run.place(0)}"


def _cut(text: NDArray[np.uint8], goal: int) -> int:
    """Gives the place nearest to `goal` behind a line end, else behind a space, else anywhere."""
    low, high = max(0, goal - _SEARCH_BYTES), min(len(text), goal + _SEARCH_BYTES)
    for separator in (ord("\n"), ord(" ")):
        ends = np.flatnonzero(text[low : high - 1] == separator) + low + 1
        if len(ends):
            return int(ends[np.argmin(np.abs(ends - goal))])
    while 0 < goal < len(text) and text[goal] & 0xC0 == 0x80:  # inside a character
        goal -= 1
    return goal


def _part(
    split: Split,
    name: str,
    column: str,
    text: NDArray[np.uint8],
    first_line: int,
    share: float = 0.0,
) -> Split:
    offsets = pa.py_buffer(np.array([0, len(text)], np.int64))
    value = pa.LargeStringArray.from_buffers(1, offsets, pa.py_buffer(np.ascontiguousarray(text)))
    position = split.table.column_names.index(column)
    table = split.table.set_column(position, column, pa.chunked_array([value]))
    return Split(name, table, Origin((DocumentPart(split.place(0), first_line, share),)))
