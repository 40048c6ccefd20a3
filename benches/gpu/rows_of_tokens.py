"""Rows of random ids as long as those of the real sets: texts and vocabularies do not travel.

`lengths.json` holds, for IMDB and SST-2, how many rows have how many tokens of BERT uncased, cut at
512; `make_lengths.py` counted them.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import fastft

if TYPE_CHECKING:
    from numpy.typing import NDArray

COUNTS = Path(__file__).with_name("lengths.json")
FIRST_ID = 1000
"""Ids below are special or unused in the vocabulary of BERT."""


@cache
def counts(name: str) -> NDArray[np.int64]:
    """How many rows of a set have 0, 1, 2, ... tokens."""
    return np.array(json.loads(COUNTS.read_text(encoding="utf-8"))[name])


def lengths(name: str, num_rows: int, longest: int = 512, seed: int = 0) -> NDArray[np.int64]:
    """Lengths drawn as a set has them."""
    found = counts(name)
    drawn = np.random.default_rng(seed).choice(len(found), num_rows, p=found / found.sum())
    return np.minimum(drawn, longest)


def dataset(name: str, num_rows: int, vocabulary: int, longest: int = 512) -> Any:
    """Rows with two classes."""
    sizes, rng = lengths(name, num_rows, longest), np.random.default_rng(1)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.uint64)
    ids = rng.integers(min(FIRST_ID, vocabulary // 2), vocabulary, int(offsets[-1]))
    return fastft.TokenDataset(
        ids.astype(np.uint16),
        offsets,
        columns={"labels": rng.integers(0, 2, num_rows)},
        model_inputs=("input_ids", "attention_mask"),
    )


def listed(rows: Any) -> list[dict[str, Any]]:
    """The rows as the list of dicts that the classes of torch and transformers are made for."""
    return [dict(rows[row]) for row in range(len(rows))]
