"""Masking in numpy, one step after the other: the plain reference of the masks in Rust."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastft.data import counter_random

Matrix = NDArray[np.int64]


def masked(
    ids: Matrix,
    attention_mask: Matrix,
    rows: NDArray[np.int64],
    tokenizer: Any,
    seed: int,
    epoch: int,
    shares: tuple[float, float, float],
) -> tuple[Matrix, Matrix]:
    """Masks padded ids (B, T) of some rows of a data set; gives ids and labels."""
    probability, mask_replace_prob, random_replace_prob = shares
    line, column = np.nonzero(attention_mask)
    # Counted from the first token of the row, so that the padding side does not matter.
    first = np.argmax(attention_mask, axis=1) if ids.size else np.zeros(len(ids), int)
    chosen_bits = counter_random.bits(seed, epoch, rows[line], column - first[line])
    tokens = ids[line, column]
    may = ~np.isin(tokens, tokenizer.all_special_ids)
    chosen = may & (counter_random.uniform(chosen_bits) < probability)
    labels = np.full_like(ids, -100)
    labels[line[chosen], column[chosen]] = tokens[chosen]

    kind_bits = counter_random.mix(chosen_bits[chosen])
    kind = counter_random.uniform(kind_bits)
    random_token = counter_random.below(counter_random.mix(kind_bits), len(tokenizer))
    is_random = kind < mask_replace_prob + random_replace_prob
    replaced = np.where(is_random, random_token, tokens[chosen])
    replaced = np.where(kind < mask_replace_prob, tokenizer.mask_token_id, replaced)
    changed = ids.copy()
    changed[line[chosen], column[chosen]] = replaced
    return changed, labels
