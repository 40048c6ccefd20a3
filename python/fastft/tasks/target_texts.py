"""Target texts as label sequences: cut to length, and ended by the token that ends a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastft.data.encoded_slices import ROWS_PER_SLICE
from fastft.data.ragged_column import RaggedColumn
from fastft.data.token_batch import truncation_counts
from fastft.errors import TokenizerError

if TYPE_CHECKING:
    import pyarrow as pa

    from fastft.data.token_batch import TokenBatch
    from fastft.data.tokenizer import Tokenizer
    from fastft.tasks.languages import OwnTargets


@dataclass(frozen=True)
class Targets:
    """The labels of a split.

    Attributes:
        labels: The token ids of every target, the end of text last.
        num_truncated_rows: How many targets were cut.
        num_truncated_tokens: How many tokens they lost; None where characters were counted.
        num_truncated_characters: How many characters they lost; None where tokens were counted.
        end_was_added: Whether the tokenizer left the end of text out and it was put there.
    """

    labels: RaggedColumn
    num_truncated_rows: int
    num_truncated_tokens: int | None
    num_truncated_characters: int | None
    end_was_added: bool


def encode_targets(
    texts: pa.ChunkedArray,
    tokenizer: Tokenizer | OwnTargets,
    max_length: int,
    *,
    count_truncated_tokens: bool = False,
) -> Targets:
    """Turns target texts into labels.

    A model learns where to stop from the end of text alone, so every target ends with it, a target
    that was cut included (as in transformers). It is added where the tokenizer does not.

    Args:
        texts: The targets.
        tokenizer: A tokenizer that writes targets; see `languages.target_tokenizer`.
        max_length: The greatest number of labels a row, the end of text included.
        count_truncated_tokens: Whether to count the tokens that targets lose, not the characters.

    Raises:
        TokenizerError: The tokenizer has no token that ends a text.
        ConfigurationError: `max_length` has no room for the special tokens.
    """
    add_end = not _ends_texts(tokenizer)
    if add_end and tokenizer.hf.eos_token_id is None:
        raise TokenizerError(
            "the tokenizer has no token that ends a text, so that no model could learn to stop",
            place=type(tokenizer.hf).__name__,
            expected="eos_token, or a token that it puts behind every text by itself",
            fix="set tokenizer.eos_token to a token of its vocabulary and pass tokenizer=",
        )
    batches = [
        tokenizer.encode(
            texts[start : start + ROWS_PER_SLICE],
            max_length=max_length - add_end,
            count_truncated_tokens=count_truncated_tokens,
        )
        for start in range(0, len(texts), ROWS_PER_SLICE)
    ]
    labels = _joined(batches, tokenizer.hf.eos_token_id if add_end else None)
    return Targets(labels, end_was_added=add_end, **truncation_counts(batches))


def _ends_texts(tokenizer: Tokenizer | OwnTargets) -> bool:
    """Whether the tokenizer itself puts an end behind every text."""
    whole = tokenizer.encode(["a"]).row(0).tolist()
    plain = tokenizer.encode(["a"], add_special_tokens=False).row(0).tolist()
    return bool(whole) and whole[-1] not in plain


def _joined(batches: list[TokenBatch], end: int | None) -> RaggedColumn:
    values = [batch.ids.astype(np.int32) for batch in batches]
    lengths = [np.diff(batch.row_offsets).astype(np.int64) for batch in batches]
    flat = np.concatenate(values) if values else np.empty(0, np.int32)
    offsets = np.zeros(sum(map(len, lengths)) + 1, np.int64)
    np.cumsum(np.concatenate(lengths) if lengths else [], out=offsets[1:])
    if end is not None:
        flat = np.insert(flat, offsets[1:], end)
        offsets = offsets + np.arange(len(offsets))
    return RaggedColumn(flat, offsets)
