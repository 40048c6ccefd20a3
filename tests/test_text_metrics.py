"""ROUGE by hand, and the scores of sacreBLEU as its own functions give them."""

from __future__ import annotations

import importlib.util
import random
import re
from collections import Counter

import pytest
import sacrebleu

from fastft.tasks.rouge import longest_common_subsequence, mean_rouge, rouge_l, rouge_n
from fastft.tasks.text_metrics import bleu_tokenizer, score, signature

WORDS = "the cat sat on a mat while the dog ran off and never came back".split()


def plain_words(text):
    return [word for word in re.sub("[^a-z0-9]+", " ", text.lower()).split() if word]


def plain_rouge(name, prediction, reference):
    """The definition, with a table for the subsequence and a loop for the runs of words."""
    found, wanted = plain_words(prediction), plain_words(reference)
    if name == "rougeL":
        table = [[0] * (len(wanted) + 1) for _ in range(len(found) + 1)]
        for i, word in enumerate(found):
            for j, other in enumerate(wanted):
                equal = table[i][j] + 1
                table[i + 1][j + 1] = (
                    equal if word == other else max(table[i][j + 1], table[i + 1][j])
                )
        overlap, num_found, num_wanted = table[-1][-1], len(found), len(wanted)
    else:
        n = int(name[-1])
        runs = [[tuple(t[i : i + n]) for i in range(len(t) - n + 1)] for t in (found, wanted)]
        left = Counter(runs[1])
        overlap = 0
        for run in runs[0]:
            if left[run]:
                left[run] -= 1
                overlap += 1
        num_found, num_wanted = map(len, runs)
    if not overlap:
        return 0.0
    precision, recall = overlap / num_found, overlap / num_wanted
    return 2 * precision * recall / (precision + recall)


def random_texts(number, seed):
    rng = random.Random(seed)
    marks = ("", ",", ".", "!", "'s", "-ed", " 42", " café", "\n")
    return [
        " ".join(rng.choice(WORDS).title() + rng.choice(marks) for _ in range(rng.randint(0, 90)))
        for _ in range(number)
    ]


PAIRS = list(zip(random_texts(60, 1), random_texts(60, 2), strict=True))


@pytest.mark.parametrize("name", ["rouge1", "rouge2", "rougeL"])
def test_rouge_is_that_of_a_plain_implementation(name):
    found, wanted = zip(*PAIRS, strict=True)
    each = [plain_rouge(name, *pair) for pair in PAIRS]
    assert 0 < sum(each) / len(each) < 1
    assert mean_rouge(name, found, wanted) == pytest.approx(sum(each) / len(each), rel=1e-12)


def test_rouge_is_that_of_rouge_score_where_it_is_installed():
    if importlib.util.find_spec("rouge_score") is None:
        pytest.skip("the package rouge_score is not installed")
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)
    for found, wanted in PAIRS:
        expected = scorer.score(wanted, found)
        assert rouge_n(found, wanted, 1) == pytest.approx(expected["rouge1"].fmeasure)
        assert rouge_n(found, wanted, 2) == pytest.approx(expected["rouge2"].fmeasure)
        assert rouge_l(found, wanted) == pytest.approx(expected["rougeL"].fmeasure)


def test_rouge_of_texts_worked_out_by_hand():
    assert rouge_n("police killed the gunman", "police kill the gunman", 1) == 0.75
    assert rouge_l("police kill the gunman", "the gunman kill police") == 0.5
    assert rouge_n("a b", "a b", 2) == 1 and rouge_n("a", "a", 2) == 0
    assert rouge_l("", "a") == rouge_l("a", "") == rouge_l("犬", "犬") == 0


def test_the_longest_subsequence_of_long_texts_and_of_none():
    assert longest_common_subsequence(["a", "b"] * 500, ["b", "a"] * 500) == 999
    assert longest_common_subsequence([], ["a"]) == longest_common_subsequence(["a"], []) == 0


def test_bleu_and_chrf_are_those_of_sacrebleu():
    wanted = [wanted for _, wanted in PAIRS]
    mixed = [one if row % 2 else other for row, (one, other) in enumerate(PAIRS)]
    bleu = sacrebleu.corpus_bleu(mixed, [wanted], force=True)
    assert 10 < bleu.score < 90
    assert score("bleu", mixed, wanted, "13a") == pytest.approx(bleu.score, abs=1e-9)
    chrf = sacrebleu.corpus_chrf(mixed, [wanted])
    assert score("chrf", mixed, wanted, "13a") == pytest.approx(chrf.score, abs=1e-9)
    assert score("exact_match", mixed, wanted, "13a") == pytest.approx(0.5, abs=0.02)


def test_japanese_and_chinese_are_cut_without_spaces_and_said_so():
    texts, wanted = ["私は犬が好きです。"], ["私は猫が好きです。"]
    assert score("bleu", texts, wanted, bleu_tokenizer("en")) == 0
    assert score("bleu", texts, wanted, bleu_tokenizer("ja_XX")) > 40
    assert score("bleu", texts, wanted, bleu_tokenizer("zho_Hans")) > 40
    assert "tok:char" in signature(["bleu", "chrf"], bleu_tokenizer("ja"))
    assert "tok:13a" in signature(["bleu"], bleu_tokenizer("target"))
    assert "chrF2" in signature(["chrf"], "13a") and "BLEU" not in signature(["chrf"], "13a")
    assert bleu_tokenizer("jargon") == bleu_tokenizer(None) == "13a"
