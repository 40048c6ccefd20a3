"""Exact match and F1 against an implementation written apart, on hostile answers."""

from __future__ import annotations

import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastft.tasks.squad_metrics import (
    best_threshold,
    normalize_answer,
    squad_metrics,
    squad_scores,
    word_f1,
)

HOSTILE = [
    "", " ", "the", "The.", "a", "An", "the the", "?", "U.S.A.", "USA", "l'année", "année",
    "the\u00a0cat", "cat", "CAT", "a-cat", "theatre", "cat the cat", "cat cat", "İstanbul",
    "\u017f", "«quoted»", '"quoted"', "1,000", "1000", "北京", "the 北京", "北京 大学",
    "\u2028cat", "an\tcat", "\uff41", "état a", "\u0301the", "_the_", "the_",
    "cat\x1fdog", "\u200bcat",
]  # fmt: skip


def plain_words(text: str) -> list[str]:
    """The words that count, read off the official definition without its regular expression."""
    kept = "".join(character for character in text.lower() if character not in string.punctuation)
    runs, run = [], ""
    for character in kept:
        # A word border of `re` lies between a letter, digit or underscore and anything else.
        is_word = character.isalnum() or character == "_"
        if run and is_word != (run[-1].isalnum() or run[-1] == "_"):
            runs.append(run)
            run = ""
        run += character
    runs.append(run)
    return "".join(" " if run in ("a", "an", "the") else run for run in runs).split()


def plain_f1(prediction: str, answer: str) -> float:
    predicted, right = plain_words(prediction), plain_words(answer)
    rest, same = list(right), 0
    for word in predicted:
        if word in rest:
            rest.remove(word)
            same += 1
    return 0.0 if same == 0 else 2 * same / (len(predicted) + len(right))


@pytest.mark.parametrize("prediction", HOSTILE)
def test_every_pair_of_hostile_texts(prediction):
    for answer in HOSTILE:
        exact = plain_words(prediction) == plain_words(answer)
        ours = squad_scores([prediction], [[answer]], version_2=False)[0]
        assert ours.tolist() == [exact, pytest.approx(plain_f1(prediction, answer))], answer
        # Version 2.0: an answer of which nothing is left is no answer, and silence is right.
        if not plain_words(answer):
            expected = [not plain_words(prediction)] * 2
        elif not plain_words(prediction):
            expected = [0.0, 0.0]
        else:
            expected = [exact, pytest.approx(plain_f1(prediction, answer))]
        assert squad_scores([prediction], [[answer]], version_2=True)[0].tolist() == expected


@given(st.text("aten .,'The\u00a0é", max_size=12), st.text("aten .,'The\u00a0é", max_size=12))
def test_random_texts(prediction, answer):
    assert normalize_answer(prediction).split() == plain_words(prediction)
    assert word_f1(prediction, answer) == pytest.approx(plain_f1(prediction, answer))


def test_literal_values():
    assert normalize_answer("  The Cat's  (big) an a hat! ") == "cats big hat"
    assert word_f1("the big red cat", "red cat sat") == pytest.approx(2 / 3)
    assert word_f1("cat cat dog", "cat dog dog") == pytest.approx(2 / 3)
    assert word_f1("the", "the") == 0.0
    assert word_f1("the", "the", version_2=True) == 1.0


def test_the_best_of_several_answers_counts_for_each_figure_apart():
    scores = squad_scores(["red cat"], [["dog", "the red cat sat", "cat"]], version_2=False)
    assert scores.tolist() == [[0.0, pytest.approx(0.8)]]


def test_an_unanswerable_question_is_right_only_when_nothing_is_said():
    scores = squad_scores(["", "cat", "", "cat"], [[], [], ["cat"], ["the", "cat"]], version_2=True)
    assert scores[:, 0].tolist() == [1, 0, 0, 1]
    metrics = squad_metrics(scores, np.array([False, False, True, True]), version_2=True)
    assert metrics == {
        "exact_match": 50.0, "f1": 50.0,
        "HasAns_exact": 50.0, "HasAns_f1": 50.0, "NoAns_exact": 50.0, "NoAns_f1": 50.0,
    }  # fmt: skip


def test_the_parts_are_left_out_where_they_are_empty():
    metrics = squad_metrics(np.ones((2, 2)), np.array([True, True]), version_2=True)
    assert sorted(metrics) == ["HasAns_exact", "HasAns_f1", "exact_match", "f1"]
    assert sorted(squad_metrics(np.ones((1, 2)), np.array([True]), version_2=False)) == [
        "exact_match",
        "f1",
    ]


def total(threshold: float, scores: np.ndarray, differences: np.ndarray, has: np.ndarray) -> float:
    return float(np.where(differences > threshold, ~has, scores).sum())


@given(
    st.lists(
        st.tuples(st.integers(-3, 3), st.booleans(), st.sampled_from([0.0, 0.25, 1.0])),
        min_size=1,
        max_size=12,
    )
)
def test_no_other_threshold_is_better(rows):
    """Ties in the differences are what the running sum of the official script gets wrong."""
    differences = np.array([float(row[0]) for row in rows])
    has = np.array([row[1] for row in rows])
    scores = np.where(has, [row[2] for row in rows], 0.0)
    found = total(best_threshold(scores, differences, has), scores, differences, has)
    others = [total(each, scores, differences, has) for each in np.arange(-5.0, 5.0, 0.5)]
    assert found == max(others)
