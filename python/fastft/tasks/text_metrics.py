"""Scores of generated texts against the texts that were wanted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fastft.tasks.rouge import mean_rouge, words

if TYPE_CHECKING:
    from collections.abc import Sequence

# Scripts without spaces between words. sacreBLEU cuts Chinese by itself; its word cutters of the
# others need packages or downloads, and a figure must not depend on what is installed.
_WITHOUT_SPACES = {"zh": "zh", "ja": "char", "th": "char", "lo": "char", "km": "char", "my": "char"}
_LONG_CODES = {"zho": "zh", "cmn": "zh", "yue": "zh", "jpn": "ja", "tha": "th", "lao": "lo",
               "khm": "km", "mya": "my"}  # fmt: skip


def bleu_tokenizer(language: str | None) -> str:
    """Chooses how sacreBLEU cuts texts into words.

    Args:
        language: A code such as `de`, `ja_XX` or `zho_Hans`, or the name of the target column.

    Example:
        >>> bleu_tokenizer("de"), bleu_tokenizer("jpn_Jpan"), bleu_tokenizer("zh-CN")
        ('13a', 'char', 'zh')
    """
    code = re.split("[-_]", (language or "").lower())[0]
    return _WITHOUT_SPACES.get(_LONG_CODES.get(code, code), "13a")


def score(
    name: str, predictions: Sequence[str], references: Sequence[str], tokenizer: str
) -> float:
    """Scores a corpus.

    Args:
        name: `bleu` or `chrf` (0 to 100), `rouge1`, `rouge2`, `rougeL` or `exact_match` (0 to 1).
        predictions: What the model wrote.
        references: What was wanted, one text a row.
        tokenizer: How sacreBLEU cuts texts.
    """
    if name == "exact_match":
        pairs = zip(predictions, references, strict=True)
        return sum(found.strip() == wanted.strip() for found, wanted in pairs) / len(references)
    if name.startswith("rouge"):
        return mean_rouge(name, predictions, references)
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    # force: no line on the log about texts that end in " ."
    metric = CHRF() if name == "chrf" else BLEU(tokenize=tokenizer, force=True)
    return float(metric.corpus_score(list(predictions), [list(references)]).score)


def signature(names: Sequence[str], tokenizer: str) -> str:
    """Says how figures are computed, in sacreBLEU's own words where they are its own."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    said = {"exact_match": "exact match: share of equal texts, 0 to 1"}
    for key, metric in (("bleu", BLEU(tokenize=tokenizer)), ("chrf", CHRF())):
        metric.corpus_score(["a"], [["a"]])
        said[key] = f"{'BLEU' if key == 'bleu' else 'chrF2'} {metric.get_signature()}"
    rouge = [name for name in names if name.startswith("rouge")]
    parts = [said[name] for name in names if name in said]
    if rouge:
        parts.append(f"{', '.join(rouge)}: mean F1, no stemmer, 0 to 1")
    return "; ".join(parts)


def num_without_words(references: Sequence[str]) -> int:
    """Counts the texts in which ROUGE sees no word: those without a-z and 0-9."""
    return sum(not words(text) for text in references)
