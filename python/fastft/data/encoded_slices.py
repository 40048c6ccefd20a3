"""Columns of texts to the arrays of a token dataset, in slices between which Ctrl-C is heard."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fastft.data.diagnose import row_places
from fastft.data.token_batch import TokenBatch, row_lengths, truncation_counts
from fastft.data.type_ids import concatenate

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastft.data.tokenizer import Tokenizer

ROWS_PER_SLICE = 4096
"""Texts encoded between two looks at the keyboard: a slice takes some tens of milliseconds."""


def encode_slices(
    texts: Any,
    text_pair: Any | None,
    tokenizer: Tokenizer,
    max_length: int | None,
    *,
    count_truncated_tokens: bool = False,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Encodes Arrow columns of the same length.

    Args:
        texts: What `as_arrow` gave.
        text_pair: The second texts.
        tokenizer: The tokenizer.
        max_length: The greatest length of a row.
        count_truncated_tokens: Whether to count the tokens that rows lose, not the characters.
        progress: Called after each slice with the number of rows done.

    Returns:
        Arguments of `TokenDataset`: the arrays and what was cut.

    Raises:
        DataError: A text cannot be encoded.
    """
    options: dict[str, Any] = {
        "max_length": max_length,
        "count_truncated_tokens": count_truncated_tokens,
    }
    batches: list[TokenBatch] = []
    for start in range(0, max(len(texts), 1), ROWS_PER_SLICE):
        rows = slice(start, start + ROWS_PER_SLICE)
        pair = None if text_pair is None else text_pair[rows]
        with row_places(partial(_row_of_slice, start)):
            batch = tokenizer.encode(texts[rows], pair, **options)
        batches.append(_narrowed(batch, tokenizer.vocab_size))
        if progress is not None:
            progress(min(start + ROWS_PER_SLICE, len(texts)))
    return _joined(batches, tokenizer)


def _joined(batches: list[TokenBatch], tokenizer: Tokenizer) -> dict[str, Any]:
    # Mixed widths (an added token beyond 65,535) become the wider one here.
    ids = np.concatenate([batch.ids for batch in batches])
    lengths = [row_lengths(batch.row_offsets) for batch in batches]
    row_offsets = np.zeros(sum(map(len, lengths)) + 1, np.uint64)
    np.cumsum(np.concatenate(lengths), out=row_offsets[1:], dtype=np.uint64)
    parts = [(batch.type_ids, part) for batch, part in zip(batches, lengths, strict=True)]
    model_inputs = tokenizer.hf.model_input_names
    return {
        "ids": ids,
        "row_offsets": row_offsets,
        "type_ids": concatenate(parts) if "token_type_ids" in model_inputs else None,
        "model_inputs": model_inputs,
        "vocab_size": max(tokenizer.vocab_size, int(ids.max(initial=0)) + 1),
        **truncation_counts(batches),
    }


def _row_of_slice(start: int, row: int) -> str:
    return f"row {start + row}"


def _narrowed(batch: TokenBatch, vocab_size: int) -> TokenBatch:
    """The batch with 16-bit ids where they fit, so that slices do not pile up in 32 bit."""
    if max(vocab_size, int(batch.ids.max(initial=0)) + 1) > 2**16:
        return batch
    return TokenBatch(
        cast(Any, batch.ids.astype(np.uint16)),
        batch.row_offsets,
        batch.type_ids,
        batch.num_truncated_rows,
        batch.num_truncated_tokens,
        batch.num_truncated_characters,
    )
