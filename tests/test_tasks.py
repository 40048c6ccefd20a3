from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from transformers import EvalPrediction

import fastft
from fastft.data.sources import open_source
from fastft.errors import ArgumentError, ConfigurationError, Error, LabelError
from fastft.tasks.multi_label import MultiLabel
from fastft.tasks.registry import TASK_NAMES, choose_task, option_names, task_class, task_options
from fastft.tasks.regression import Regression, ranks
from fastft.tasks.single_label import SingleLabel, read_class_weights
from fastft.tasks.text_classification import TextClassification

ONE = TextClassification("text", None, SingleLabel("label", ("no", "yes", "maybe")))
MANY = TextClassification("text", "other", MultiLabel(("tags",), ("a", "b"), ";"))
NUMBER = TextClassification("text", None, Regression("score"))


def test_every_task_has_its_class():
    assert [task_class(name).name for name in TASK_NAMES] == list(TASK_NAMES)


def test_an_option_of_another_task_is_refused_and_says_whose_it_is():
    with pytest.raises(ArgumentError, match="class_weights is no option of the task"):
        task_options("question-answering", {"class_weights": "balanced"})
    assert task_options("text-classification", {})["class_weights"] is None
    assert "stride" in option_names()


@pytest.mark.parametrize(
    ("columns", "options", "architecture", "encoder_decoder", "task"),
    [
        ({"text", "label"}, {}, "GPT2LMHeadModel", False, "text-classification"),
        ({"text", "labl"}, {"label": "labl"}, "BertModel", False, "text-classification"),
        ({"text"}, {}, "GPT2LMHeadModel", False, "causal-lm"),
        ({"text"}, {}, "LlamaForCausalLM", False, "causal-lm"),
        ({"text"}, {}, "BertForMaskedLM", False, "masked-lm"),
        ({"text", "label"}, {}, "BertForMaskedLM", False, "text-classification"),
        ({"question", "context", "answers", "id"}, {}, "BertModel", False, "question-answering"),
        ({"messages"}, {}, "LlamaForCausalLM", False, "chat"),
        ({"instruction", "input", "output"}, {}, "LlamaForCausalLM", False, "chat"),
        ({"prompt", "completion"}, {}, "", False, "chat"),
        ({"source", "target"}, {}, "T5ForConditionalGeneration", True, "seq2seq"),
        ({"prompt", "completion"}, {}, "T5ForConditionalGeneration", True, "seq2seq"),
        ({"text", "lable"}, {}, "BertModel", False, "text-classification"),
    ],
)
def test_the_task_follows_from_columns_and_architecture(
    columns, options, architecture, encoder_decoder, task
):
    chosen, reason = choose_task(columns, options, architecture, encoder_decoder=encoder_decoder)
    assert chosen == task
    assert reason


@pytest.mark.parametrize("task", [ONE, MANY, NUMBER])
def test_the_state_builds_the_same_task(task):
    assert TextClassification.from_state(json.loads(json.dumps(task.state()))) == task


def split_of(**columns):
    return open_source(pa.table(columns)).splits["train"]


def task_for(data, **options):
    defaults = {"text": None, "pair": None, "label": None, "label_names": None}
    options = {**defaults, **task_options("text-classification", {}), **options}
    return TextClassification.from_source(open_source(data), options)


# -- one class ----------------------------------------------------------------------------------


def test_the_likeliest_class_is_named_with_its_probability():
    answers = ONE.target.decode(np.array([[0.0, np.log(2.0), 0.0], [800.0, 0.0, 0.0]], np.float32))
    assert [answer["label"] for answer in answers] == ["yes", "no"]
    assert answers[0]["score"] == pytest.approx(0.5)
    assert answers[1]["score"] == pytest.approx(1.0)


def test_figures_of_one_class_are_those_of_their_definitions():
    logits = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    prediction = EvalPrediction(logits, np.array([0, 1, 1, 2]))
    metrics = ONE.compute_metrics(prediction, None)
    assert metrics["accuracy"] == 0.75
    assert metrics["f1_macro"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    # (correct x rows - sum of true x predicted) / sqrt(...), by hand
    assert metrics["mcc"] == pytest.approx((3 * 4 - 5) / np.sqrt((16 - 6) * (16 - 6)))
    report = ONE.report(prediction, None)
    assert report["confusion_matrix"] == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert report["per_class"]["yes"] == {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "rows": 2.0}


def test_the_description_names_columns_and_loss():
    text = ONE.describe()
    assert "'text' -> 'label', 3 labels: no, yes, maybe" in text
    assert "cross entropy" in text


def test_balanced_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    ids = np.array([0, 0, 0, 1, 2, 2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=ids)
    assert read_class_weights("balanced", ("a", "b", "c"), ids) == pytest.approx(tuple(expected))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("even", "'even'"),
        ({"x": 2.0}, "the class 'x'"),
        ({"a": -1}, "-1 for 'a'"),
        ({"a": float("nan")}, "nan for 'a'"),
        ([1, 2], "[1, 2]"),
    ],
)
def test_class_weights_that_cannot_be_used_are_named(given, words):
    with pytest.raises(ConfigurationError) as caught:
        read_class_weights(given, ("a", "b"), np.array([0, 1]))
    assert words in str(caught.value)


def test_a_class_without_a_weight_weighs_one():
    assert read_class_weights({"b": 3}, ("a", "b"), np.array([0, 1])) == (1.0, 3.0)


# -- any number of classes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "options"),
    [
        ([["b", "a"], [], ["b"]], {}),
        (["b;a", "", " b ;"], {"label_separator": ";"}),
    ],
)
def test_lists_of_labels_become_zeros_and_ones(column, options):
    task = task_for(pa.table({"text": list("xyz"), "label": column}), **options)
    assert task.target.names == ("a", "b")
    encoded = task.target.encode(split_of(text=list("xyz"), label=column))
    assert encoded.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert encoded.dtype == np.float32


def test_a_column_for_each_class_is_taken_as_it_is():
    data = pa.table({"text": list("xy"), "toxic": [1, 0], "rude": [True, True]})
    task = task_for(data, label=["toxic", "rude"])
    assert task.target.encode(open_source(data).splits["train"]).tolist() == [[1, 1], [0, 1]]
    broken = pa.table({"text": list("xy"), "toxic": [1, 2], "rude": [0, 1]})
    with pytest.raises(LabelError, match=r"row 1.*'toxic'"):
        task.target.encode(open_source(broken).splits["train"])


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ([["a"], None, ["b"]], "row 1"),
        ([["a"], ["b", None], ["b"]], "row 1"),
        ([["a"], ["a"], []], "fewer than two classes"),
    ],
)
def test_lists_that_cannot_be_labels_are_named(column, words):
    with pytest.raises(LabelError, match=words):
        task_for(pa.table({"text": list("xyz"), "label": column}))


def test_a_label_that_only_validation_has_is_named():
    target = MultiLabel(("label",), ("anger", "joy"))
    with pytest.raises(LabelError, match=r"(?s)row 1.*did you mean 'anger'"):
        target.encode(split_of(text=list("xy"), label=[["joy"], ["joy", "angr"]]))


def test_figures_of_several_classes_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(size=(50, 4)), rng.integers(0, 2, (50, 4)).astype(np.float32)
    metrics = MultiLabel(("x",), tuple("abcd")).metrics(logits, truth)
    flat = sklearn.metrics.f1_score(truth.reshape(-1), (logits > 0).reshape(-1))
    assert metrics["f1_micro"] == pytest.approx(flat)
    assert metrics["exact_match"] == np.mean(
        [(a == b).all() for a, b in zip(logits > 0, truth > 0, strict=True)]
    )


def test_classes_above_one_half_are_named():
    (row,) = MANY.target.decode(np.array([[0.1, -0.1]]))
    assert row["labels"] == ["a"]
    assert row["scores"]["b"] == pytest.approx(1 / (1 + np.exp(0.1)))


# -- a number -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ([3.8, 0.0, 5.0], Regression),
        (["3.800", "0.000", "5"], Regression),
        (["4", "5", "3"], SingleLabel),
        (["3.5", "x", "3"], SingleLabel),
        ([3, 4, 5], SingleLabel),
    ],
)
def test_decimal_numbers_are_a_regression_and_nothing_else_is(column, kind):
    try:
        target = task_for(pa.table({"text": list("xyz"), "label": column})).target
    except Error:
        assert kind is SingleLabel  # names mixed with numbers are refused as classes
    else:
        assert isinstance(target, kind)


def test_whole_numbers_are_a_regression_when_asked_for():
    task = task_for(pa.table({"text": list("xy"), "label": [4, 5]}), problem_type="regression")
    assert task.target.encode(split_of(text=list("xy"), label=[4, 5])).tolist() == [4.0, 5.0]


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_number_that_is_none_is_named(value):
    with pytest.raises(LabelError, match=r"row 1.*no number"):
        Regression("label").encode(split_of(text=list("xy"), label=[1.5, value]))


numbers = st.lists(st.integers(-5, 5), min_size=2, max_size=30)


@given(numbers)
def test_ranks_are_those_of_scipy(values):
    np.testing.assert_allclose(ranks(np.array(values)), scipy.stats.rankdata(values))


def test_correlations_are_those_of_scipy_and_zero_for_a_constant():
    rng = np.random.default_rng(1)
    predicted, truth = rng.normal(size=40), rng.integers(0, 5, 40).astype(np.float32)
    metrics = NUMBER.target.metrics(predicted[:, None], truth)
    assert metrics["pearson"] == pytest.approx(scipy.stats.pearsonr(predicted, truth)[0])
    assert metrics["spearman"] == pytest.approx(scipy.stats.spearmanr(predicted, truth)[0])
    assert metrics["mse"] == pytest.approx(((predicted - truth) ** 2).mean())
    assert NUMBER.target.metrics(np.ones((3, 1)), np.array([1.0, 2.0, 3.0]))["pearson"] == 0.0


def test_label_smoothing_needs_one_class_a_row():
    with pytest.raises(ConfigurationError, match="label_smoothing_factor"):
        NUMBER.check_arguments({"label_smoothing_factor": 0.1})
    ONE.check_arguments({"label_smoothing_factor": 0.1})


def test_class_weights_need_one_class_a_row():
    with pytest.raises(ConfigurationError, match="class_weights"):
        task_for(pa.table({"text": list("xy"), "label": [1.5, 2]}), class_weights="balanced")


# -- pairs ----------------------------------------------------------------------------------------


def test_the_second_text_of_a_known_pair_is_found_unless_the_first_was_named():
    data = pa.table({"sentence1": list("xy"), "sentence2": list("zw"), "label": [0, 1]})
    assert task_for(data).input_columns == ("sentence1", "sentence2")
    assert task_for(data, text="sentence1").input_columns == ("sentence1",)
    assert task_for(data, text="sentence2", pair="sentence1").pair == "sentence1"


@pytest.mark.parametrize(
    ("label", "options", "keys"),
    [
        ([["a"], ["b"], ["a", "b"], []] * 5, {}, {"labels", "scores"}),
        ([0.5, 1.5, 2.5, 3.5] * 5, {}, {"value"}),
        (["a", "b", "a", "b"] * 5, {"class_weights": {"b": 3.0}}, {"label", "score"}),
    ],
)
def test_each_kind_of_target_trains_saves_and_loads(label, options, keys, tmp_path, tiny_bert):
    from transformers import AutoModelForSequenceClassification

    data = pa.table({"text": [f"good film {i % 7}" for i in range(20)], "label": label})
    result = fastft.finetune(
        tiny_bert, data, num_train_epochs=1, output_dir=tmp_path / "run", quiet=True,
        validation=0.4, **options,
    )  # fmt: skip
    assert {f"eval_{name}" for name in result.task.metric_names} <= set(result.metrics)
    (row,) = result.predict(["good film"])
    assert set(row) == keys
    assert fastft.load(tmp_path / "run").predict(["good film"]) == [row]
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run")
    assert plain.config.problem_type == result.task.target.problem_type
