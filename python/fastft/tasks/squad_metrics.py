"""Exact match and F1 as the official SQuAD scripts define them, and the best no-answer threshold.

Written from the published definition of the evaluation scripts 1.1 and 2.0. Both compare texts
without case, ASCII punctuation, the English articles and superfluous white space; F1 is that of
the words, with their multiplicity, and the best of several right answers counts. They differ where
nothing is left of an answer ("the", "?"): version 1.1 gives such a pair an F1 of 0, version 2.0
leaves such right answers out, and holds an empty answer to be the right one where none is left.

For languages written without spaces a whole answer is one word here, as in the official scripts,
so that F1 tells little more than exact match.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """Removes case, ASCII punctuation, English articles and superfluous white space.

    Example:
        >>> normalize_answer("The  Panthers' (2015)")
        'panthers 2015'
    """
    words = _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()
    return " ".join(words)


def word_f1(prediction: str, answer: str, *, version_2: bool = False) -> float:
    """Gives the F1 of the words of two texts.

    Args:
        prediction: What was predicted.
        answer: The right answer.
        version_2: Whether two texts of which nothing is left agree, as in SQuAD 2.0.

    Example:
        >>> word_f1("in the north of Warsaw", "North Warsaw")
        0.6666666666666666
    """
    predicted, right = normalize_answer(prediction).split(), normalize_answer(answer).split()
    if version_2 and not (predicted and right):
        return float(predicted == right)
    num_same = sum((Counter(predicted) & Counter(right)).values())
    if not num_same:
        return 0.0
    precision, recall = num_same / len(predicted), num_same / len(right)
    return 2 * precision * recall / (precision + recall)


def squad_scores(
    predictions: Sequence[str], answers: Sequence[Sequence[str]], *, version_2: bool
) -> NDArray[np.float64]:
    """Scores every question.

    Args:
        predictions: The predicted answers; the empty string says that there is none.
        answers: The right answers of each question; in SQuAD 2.0 there may be none.
        version_2: Whether the rules are those of SQuAD 2.0.

    Returns:
        float64 (B, 2): exact match and F1, each of 0 to 1.
    """
    scores = np.zeros((len(predictions), 2))
    for row, (prediction, given) in enumerate(zip(predictions, answers, strict=True)):
        right = [text for text in given if normalize_answer(text)] or [""] if version_2 else given
        normal = normalize_answer(prediction)
        scores[row, 0] = max(normal == normalize_answer(text) for text in right)
        scores[row, 1] = max(word_f1(prediction, text, version_2=version_2) for text in right)
    return scores


def squad_metrics(
    scores: NDArray[np.float64], has_answer: NDArray[np.bool_], *, version_2: bool
) -> dict[str, float]:
    """Gives the means of scores in per cent, as SQuAD counts.

    Args:
        scores: float64 (B, 2): what `squad_scores` gave.
        has_answer: bool (B,): which questions have an answer.
        version_2: Whether to give questions with and without an answer also apart.
    """
    means = _percent(scores, "exact_match", "f1")
    if version_2:
        for name, rows in (("HasAns", has_answer), ("NoAns", ~has_answer)):
            if rows.any():
                means |= _percent(scores[rows], f"{name}_exact", f"{name}_f1")
    return means


def _percent(scores: NDArray[np.float64], exact_name: str, f1_name: str) -> dict[str, float]:
    exact, f1 = (100.0 * scores.mean(axis=0)).tolist() if len(scores) else (0.0, 0.0)
    return {exact_name: exact, f1_name: f1}


def best_threshold(
    scores: NDArray[np.float64],
    score_differences: NDArray[np.float64],
    has_answer: NDArray[np.bool_],
) -> float:
    """Finds the threshold that gives the highest sum of scores.

    A question whose difference is above the threshold is left unanswered, which is right (1) where
    there is no answer and wrong (0) where there is one.

    Args:
        scores: float64 (B,): the score of each question when it is answered.
        score_differences: float64 (B,): how far the score of no answer is above that of the best.
        has_answer: bool (B,): which questions have an answer.

    Example:
        >>> best_threshold(np.array([1.0, 0.0]), np.array([-2.0, 3.0]), np.array([True, False]))
        -2.0
    """
    order = np.argsort(score_differences, kind="stable")
    differences = score_differences[order]
    # Answering a question more, in the order of the differences, gains its score; where there is
    # no answer, it loses the point that silence would have had.
    gains = np.cumsum(np.where(has_answer, scores, scores - 1.0)[order])
    # Questions with the same difference are answered together.
    ends = np.append(differences[1:] != differences[:-1], True)
    gains = np.where(ends, gains, -np.inf)
    best = int(gains.argmax())
    if gains[best] <= 0.0:
        return float(differences[0]) - 1.0  # below all of them: nothing is answered
    return float(differences[best])
