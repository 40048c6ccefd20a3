"""Whole documents to token ids: any length, no special tokens yet, nothing cut.

A tokenizer takes a text as a whole, and a file of 100 MB is one text. Long documents are therefore
cut into pieces, at line ends or spaces, and only where the tokenizer gives the same tokens with the
cut as without it; where there is no such place, it reads the document in one piece.

Invariant: the ids of a document are those of the tokenizer for its whole text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fastft.data.diagnose import row_places
from fastft.data.encoded_slices import ROWS_PER_SLICE
from fastft.data.text_column import buffers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from fastft.data.tokenizer import Tokenizer

PIECE_BYTES = 2**16
"""Longer documents are cut into pieces of about this size, so that all cores have some."""
SLICE_BYTES = 2**24
"""Text that is encoded between two looks at the keyboard."""

# Places where tokens seldom reach across: behind a line end between two characters that are no
# white space, in front of the white space around a line end, and at a space between two words. The
# space itself is left out (the group): tokenizers of Llama's kind put one in front of every text.
_PLACES = (
    re.compile(rb"[!-~\x80-\xff]\n()(?=[!-~\x80-\xff])"),
    re.compile(rb"[!-~\x80-\xff]()(?=[ \t\r]*\n)"),
    re.compile(rb"[A-Za-z]( )(?=[A-Za-z])"),
)
# How far the lines beside a cut are looked at, to see whether it changes a token.
_WINDOW_BYTES = 4096

_Window = tuple[int, int, int, int]
"""Where the lines around a cut begin, the cut, where the text goes on, and where they end."""


@dataclass(frozen=True)
class DocumentTokens:
    """Documents as token ids: document `i` is `ids[offsets[i]:offsets[i + 1]]`.

    Attributes:
        ids: uint16 or uint32 (N,).
        offsets: int64 (documents + 1,).
    """

    ids: NDArray[Any]
    offsets: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """int64 (documents,): how many tokens each has."""
        return np.diff(self.offsets)

    def without_empty(self) -> DocumentTokens:
        """Leaves documents without a token out."""
        kept = self.lengths > 0
        return DocumentTokens(self.ids, np.append(self.offsets[:-1][kept], self.offsets[-1]))

    def framed(self, before: NDArray[Any], after: NDArray[Any]) -> DocumentTokens:
        """Puts the same tokens in front of every document, and the same behind it.

        Example:
            >>> one = DocumentTokens(np.array([5, 6, 7], np.uint16), np.array([0, 2, 3]))
            >>> one.framed(np.array([1]), np.array([2])).ids.tolist()
            [1, 5, 6, 2, 1, 7, 2]
        """
        added = len(before) + len(after)
        offsets = self.offsets + np.arange(len(self.offsets)) * added
        ids = np.empty(offsets[-1], self.ids.dtype)
        is_text = np.ones(len(ids), bool)
        for place, token in [
            *((offsets[:-1] + index, token) for index, token in enumerate(before)),
            *((offsets[1:] - len(after) + index, token) for index, token in enumerate(after)),
        ]:
            ids[place], is_text[place] = token, False
        ids[is_text] = self.ids
        return DocumentTokens(ids, offsets)


def encode_documents(
    texts: pa.ChunkedArray,
    tokenizer: Tokenizer,
    place: Callable[[int], str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> DocumentTokens:
    """Tokenises documents, without special tokens.

    Args:
        texts: Strings without nulls.
        tokenizer: The tokenizer.
        place: Says where a document stands, for messages.
        progress: Called now and then with the number of documents done.

    Raises:
        DataError: A text is not valid Unicode.
    """
    data, documents = buffers(texts)
    cuts, spaces = _safe_cuts(data, documents, tokenizer)
    pieces = np.sort(np.concatenate([documents, cuts]))
    is_text = ~np.isin(pieces[:-1], spaces)
    # Counted, not searched for: empty documents begin where others do.
    first_piece = np.arange(len(documents)) + np.searchsorted(cuts, documents)
    owner = np.searchsorted(first_piece, np.arange(len(pieces)), side="right") - 1
    dtype = np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32
    ids: list[NDArray[Any]] = []
    lengths: list[NDArray[np.int64]] = []
    for start, stop in _slices(pieces):
        with row_places(lambda row, start=start: _named(place, int(owner[start + row]))):  # type: ignore[misc]
            batch = tokenizer.encode(
                _strings(data, pieces[start : stop + 1]), add_special_tokens=False
            )
        wide = int(batch.ids.max(initial=0)) >= 2**16
        counts, kept = np.diff(batch.row_offsets).astype(np.int64), is_text[start:stop]
        ids.append(batch.ids[np.repeat(kept, counts)].astype(np.uint32 if wide else dtype))
        lengths.append(counts * kept)
        if progress is not None:
            progress(int(owner[stop]))
    ends = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    flat = np.concatenate(ids)
    return DocumentTokens(flat, ends[first_piece])


def _named(place: Callable[[int], str] | None, document: int) -> str:
    return f"row {document}" if place is None else place(document)


def _strings(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> pa.Array:
    """The texts between offsets, without copying the text."""
    own = np.ascontiguousarray(offsets)
    return pa.LargeStringArray.from_buffers(len(own) - 1, pa.py_buffer(own), pa.py_buffer(data))


def _slices(pieces: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(pieces) - 1:
        by_size = int(np.searchsorted(pieces, pieces[start] + SLICE_BYTES, side="right")) - 1
        stop = min(max(by_size, start + 1), start + ROWS_PER_SLICE, len(pieces) - 1)
        yield start, stop
        start = stop


def _safe_cuts(
    data: NDArray[np.uint8], documents: NDArray[np.int64], tokenizer: Tokenizer
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Gives places inside long documents at which a cut changes no token.

    Returns:
        The cuts, sorted, and those of them where a space begins that is left out.
    """
    windows: list[_Window] = []
    text = data.data
    for index in np.flatnonzero(np.diff(documents) > 2 * PIECE_BYTES):
        start, end = int(documents[index]), int(documents[index + 1])
        for goal in range(start + PIECE_BYTES, end - PIECE_BYTES, PIECE_BYTES):
            windows += _windows(text, goal, start, end)
    cuts = np.array([window[1:3] for window in windows], np.int64).reshape(-1, 2)
    safe = cuts[_changes_nothing(data, windows, tokenizer)]
    return np.unique(safe), safe[safe[:, 0] < safe[:, 1], 0]


def _windows(text: memoryview, goal: int, start: int, end: int) -> Iterator[_Window]:
    """Yields places for a cut soon after `goal`, each between the starts and ends of its lines."""
    for pattern in _PLACES:
        found = pattern.search(text, goal, min(goal + PIECE_BYTES // 2, end))
        if found is None:
            continue
        cut, resume = found.span(1)
        before = bytes(text[max(start, cut - _WINDOW_BYTES) : cut])
        behind = bytes(text[resume : min(end, resume + _WINDOW_BYTES)])
        line_start = before.rstrip(b"\n").rfind(b"\n") + 1
        line_end = behind.find(b"\n", len(behind) - len(behind.lstrip()))
        if line_end > 0 and (line_start or len(before) < _WINDOW_BYTES):
            yield cut - len(before) + line_start, cut, resume, resume + line_end


def _changes_nothing(
    data: NDArray[np.uint8], windows: list[_Window], tokenizer: Tokenizer
) -> NDArray[np.bool_]:
    """Says for each cut whether its two sides have the tokens of the whole."""
    if not windows:
        return np.zeros(0, bool)

    def encoded(parts: list[tuple[int, int]]) -> list[list[int]]:
        texts = [data[start:end].tobytes().decode() for start, end in parts]
        batch = tokenizer.encode(texts, add_special_tokens=False)
        return [batch.row(row).tolist() for row in range(len(batch))]

    whole = encoded([(start, end) for start, _, _, end in windows])
    left = encoded([(start, cut) for start, cut, _, _ in windows])
    right = encoded([(resume, end) for _, _, resume, end in windows])
    halves = [one + two for one, two in zip(left, right, strict=True)]
    return np.array([one == two for one, two in zip(whole, halves, strict=True)])
