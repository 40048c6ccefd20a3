"""ROUGE-1, ROUGE-2 and ROUGE-L, by the definition of the package `rouge_score` without its stemmer.

Texts are lower-cased and cut into runs of a-z and 0-9; everything else only separates. A score is
the F1 of the overlap, between 0 and 1; a corpus has the mean over its rows.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_WORD = re.compile("[a-z0-9]+")


def words(text: str) -> list[str]:
    """Cuts a text into the words that ROUGE compares.

    Example:
        >>> words("Don't stop, caf\u00e9 24")
        ['don', 't', 'stop', 'caf', '24']
    """
    return _WORD.findall(text.lower())


def rouge_n(prediction: str, reference: str, n: int) -> float:
    """Gives the F1 of the runs of `n` words that both texts share.

    Example:
        >>> rouge_n("the cat sat", "the cat", 1)
        0.8
    """
    predicted, expected = _ngrams(words(prediction), n), _ngrams(words(reference), n)
    return _f1((predicted & expected).total(), predicted.total(), expected.total())


def rouge_l(prediction: str, reference: str) -> float:
    """Gives the F1 of the longest subsequence of words that both texts share.

    Example:
        >>> rouge_l("a dog and a cat", "a cat and a dog")
        0.6
    """
    predicted, expected = words(prediction), words(reference)
    return _f1(longest_common_subsequence(predicted, expected), len(predicted), len(expected))


def mean_rouge(name: str, predictions: Sequence[str], references: Sequence[str]) -> float:
    """Gives `rouge1`, `rouge2` or `rougeL` of a corpus."""
    pairs = zip(predictions, references, strict=True)
    if name == "rougeL":
        scores = [rouge_l(*pair) for pair in pairs]
    else:
        scores = [rouge_n(*pair, int(name.removeprefix("rouge"))) for pair in pairs]
    return sum(scores) / len(scores)


def longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Gives the length of the longest common subsequence.

    One row of the usual table is kept as the bits of one integer (Hyyrö 2004), so that a summary of
    500 words takes 500 steps and not 250,000.
    """
    positions: dict[str, int] = {}
    for index, word in enumerate(first):
        positions[word] = positions.get(word, 0) | (1 << index)
    every = (1 << len(first)) - 1
    row = every
    for word in second:
        matches = row & positions.get(word, 0)
        row = ((row + matches) | (row - matches)) & every
    return len(first) - row.bit_count()


def _ngrams(tokens: list[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[start:] for start in range(n)), strict=False))


def _f1(overlap: int, predicted: int, expected: int) -> float:
    if not overlap:
        return 0.0
    precision, recall = overlap / predicted, overlap / expected
    return 2 * precision * recall / (precision + recall)
