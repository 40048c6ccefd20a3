"""Data that rows make for themselves: lengths, ids, words; the same numbers for the same seed.

Lengths are lognormal, as those of texts are. Where a checkout with its examples is missing too,
texts are made of syllables whose words are as unevenly spread as those of a language.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

VOCABULARY = 30_000
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def lognormal_lengths(
    num_rows: int, *, mean: int = 180, sigma: float = 0.75, longest: int = 512, seed: int = 1
) -> NDArray[np.uint32]:
    """Lengths of rows; what the cut takes from the mean is made up for before it."""
    mu = np.log(mean) - sigma**2 / 2 + 0.055
    drawn = np.random.default_rng(seed).lognormal(mu, sigma, num_rows)
    return np.clip(np.rint(drawn), 4, longest).astype(np.uint32)


def ragged(lengths: NDArray[Any], seed: int = 0) -> tuple[NDArray[np.uint16], NDArray[np.uint64]]:
    """Random ids for rows of these lengths, and where each row begins."""
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    ids = np.random.default_rng(seed).integers(len(SPECIAL), VOCABULARY, int(offsets[-1]))
    return ids.astype(np.uint16), offsets.astype(np.uint64)


def word_tokenizer() -> Any:
    """A tokenizer of 30,000 words, for collators that ask theirs how to pad and mask."""
    import tokenizers
    import transformers

    words = [*SPECIAL, *(f"w{number}" for number in range(VOCABULARY - len(SPECIAL)))]
    model = tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, "[UNK]")
    backend = tokenizers.Tokenizer(model)
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    named = zip(("pad", "unk", "cls", "sep", "mask"), SPECIAL, strict=True)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_input_names=["input_ids", "attention_mask"],
        **{f"{name}_token": token for name, token in named},
    )


def texts(num_rows: int, words_a_row: int, seed: int = 0) -> list[str]:
    """Rows of made words; the commonest word is a tenth of all."""
    rng = np.random.default_rng(seed)
    syllables = [a + b + c for a in "bdfklmnprst" for b in "aeiou" for c in ("", "n", "s", "r")]
    words = ["".join(rng.choice(syllables, size)) for size in rng.integers(1, 5, 8_000)]
    ranks = 1 / np.arange(1, len(words) + 1)
    sizes = np.maximum(1, rng.poisson(words_a_row, num_rows))
    drawn = iter(rng.choice(len(words), int(sizes.sum()), p=ranks / ranks.sum()).tolist())
    return [" ".join(words[next(drawn)] for _ in range(size)).capitalize() + "." for size in sizes]


def first_bytes(rows: list[str], most: int) -> list[str]:
    """The first rows of a text, up to about so many bytes."""
    total, kept = 0, []
    for row in rows:
        total += len(row.encode())
        kept.append(row)
        if total > most:
            break
    return kept


def megabytes(rows: list[str]) -> float:
    """The size of texts in UTF-8."""
    return sum(len(row.encode()) for row in rows) / 1e6
