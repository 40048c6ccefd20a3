"""What a user may get wrong about a task: a `fastft.Error` says so before anything is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import fastft
from fastft.data.sources import open_source
from fastft.data.tokenizer import Tokenizer
from fastft.errors import ArgumentError, ConfigurationError, LabelError
from fastft.tasks.chat import Chat
from fastft.tasks.multi_label import MultiLabel
from fastft.tasks.question_answering import QuestionAnswering
from fastft.tasks.regression import Regression
from fastft.tasks.seq2seq import Seq2Seq
from fastft.tasks.seq2seq_checks import check_generation_config, check_generation_length
from fastft.tasks.supervision import percent
from fastft.tasks.text_classification import TextClassification
from tests.tiny import sentences
from tests.tiny_seq2seq import t5_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = [text for text, _ in sentences(20)]
TWO = {"text": TEXTS, "toxic": [0, 1] * 10, "rude": [0, 0, 1, 1] * 5}
COLUMNS = {"text": None, "pair": None, "label": None, "label_names": None}


def classifier(labels: list[Any], **options: Any) -> TextClassification:
    source = open_source({"text": TEXTS[: len(labels)], "label": labels})
    return TextClassification.from_source(
        source, {**TextClassification.options, **COLUMNS, **options}
    )


# -- labels ---------------------------------------------------------------------------------------


def test_a_column_for_each_class_reaches_the_model(tiny_bert: Path, tmp_path: Path):
    out = tmp_path / "run"
    call: dict[str, Any] = {"max_steps": 1, "output_dir": out, "quiet": True, "use_cpu": True}
    fastft.finetune(tiny_bert, TWO, label=["toxic", "rude"], **call)
    (row,) = fastft.load(out).predict(["a good film"])
    assert list(row["scores"]) == ["toxic", "rude"]


@pytest.mark.parametrize("label", [[], ["toxic", "toxic"], ["toxic", 5], 5])
def test_a_list_that_names_no_columns_is_refused(label, tiny_bert):
    with pytest.raises(ConfigurationError, match="argument label"):
        fastft.check(tiny_bert, TWO, label=label)


@pytest.mark.parametrize("separator", ["", 5, [";"]])
def test_a_separator_that_separates_nothing_is_refused(separator):
    with pytest.raises(ConfigurationError, match="argument label_separator"):
        classifier(["a;b", "b"], label_separator=separator)


@pytest.mark.parametrize(
    ("labels", "options", "words"),
    [
        (["a", "b"], {"problem_type": "multi_label_classification"}, "pass label_separator="),
        ([0.5, 1.5], {"problem_type": "multi_label_classification"}, "type double"),
        ([["a"], ["b"]], {"label_separator": ";"}, "remove label_separator"),
        ([0.5, 1.5], {"label_separator": ";"}, "remove label_separator"),
        ([[["a"]], [["b"]]], {}, "lists of names"),
        ([["a"], ["b", " "]], {}, r"row 1 .*a label in the list is missing"),
    ],
)
def test_a_column_that_lists_no_classes_is_named(labels, options, words):
    with pytest.raises(LabelError, match=words):
        classifier(labels, **options)


def test_a_column_of_lists_is_no_column_of_zeros_and_ones():
    data = {"text": TEXTS[:2], "toxic": [0, 1], "rude": [[0], [1]]}
    target = MultiLabel(("toxic", "rude"), ("toxic", "rude"))
    with pytest.raises(LabelError, match=r"row 0 .*'rude'"):
        target.encode(open_source(data).splits["train"])


@pytest.mark.parametrize(
    ("labels", "options"),
    [
        ([0.5, 1.5], {"label_names": ["a", "b"], "problem_type": "regression"}),
        (["a", "b"], {"label_separator": ";", "problem_type": "single_label_classification"}),
    ],
)
def test_an_option_that_nobody_reads_is_refused(labels, options):
    with pytest.raises(ConfigurationError, match="has no meaning for these labels"):
        classifier(labels, **options)


def test_names_beside_a_column_for_each_class_are_refused():
    options = {**TextClassification.options, **COLUMNS, "label": ["toxic", "rude"]}
    with pytest.raises(ConfigurationError, match="argument label_names"):
        TextClassification.from_source(open_source(TWO), {**options, "label_names": ["a", "b"]})


@pytest.mark.parametrize("weight", [1e308, 10**400, 1e-40])
def test_a_weight_beyond_float32_is_refused(weight):
    with pytest.raises(ConfigurationError, match="argument class_weights"):
        classifier(["a", "b"], class_weights={"a": weight})


@pytest.mark.parametrize("number", [1e300, -1e30])
def test_a_number_whose_square_is_infinite_is_named(number):
    data = open_source({"text": TEXTS[:2], "label": [1.5, number]})
    with pytest.raises(LabelError, match=r"row 1 .*too large"):
        Regression("label").encode(data.splits["train"])


def test_a_classifier_takes_no_options_of_generation(tiny_bert, tmp_path):
    call: dict[str, Any] = {"max_steps": 1, "quiet": True, "use_cpu": True}
    result = fastft.finetune(tiny_bert, sentences(20), output_dir=tmp_path / "run", **call)
    with pytest.raises(ArgumentError, match="argument num_beams"):
        result.predict(["good"], num_beams=4)


# -- other tasks ----------------------------------------------------------------------------------


def answers() -> dict[str, Any]:
    start = {"text": ["good"], "answer_start": [2]}
    contexts = ["a good film", "a good book", "a good plot", "a good scene"]
    return {"question": ["what"] * 4, "context": contexts, "answers": [start] * 4}


@pytest.mark.parametrize("stride", [61, 64, 10**12])
def test_a_stride_as_long_as_a_window_is_refused_however_short_the_contexts(stride, tiny_bert):
    with pytest.raises(ConfigurationError, match="argument stride"):
        fastft.check(tiny_bert, answers(), "question-answering", max_length=64, stride=stride)


def test_label_smoothing_is_not_left_out_in_silence():
    task = QuestionAnswering.from_source(open_source(answers()), QuestionAnswering.options)
    task.check_arguments({"label_smoothing_factor": 0.0})
    with pytest.raises(ConfigurationError, match="argument label_smoothing_factor"):
        task.check_arguments({"label_smoothing_factor": 0.1})


@pytest.mark.parametrize("name", ["messages", "prompt"])
def test_a_column_is_named_by_text(name):
    chats = [{"prompt": "hi", "completion": "yo"}]
    with pytest.raises(ConfigurationError, match=f"argument {name}"):
        Chat.from_source(open_source(chats), {**Chat.options, name: 5})


def test_an_evaluation_writes_more_than_the_start_of_the_decoder():
    check_generation_length({"generation_max_length": 2}, None)
    with pytest.raises(ConfigurationError, match="argument generation_max_length"):
        check_generation_length({"generation_max_length": 1}, None)


def test_a_prefix_leaves_room_for_the_source():
    tokenizer, pairs = Tokenizer.from_hf(t5_tokenizer()), {"source": ["a"], "target": ["b"]}
    split = open_source(pairs).splits["train"]
    task = Seq2Seq("source", "target", "the " * 6, max_target_length=8)
    assert task.data(split, tokenizer, 8).dataset.num_truncated_rows == 0
    with pytest.raises(ConfigurationError, match="argument prefix"):
        task.data(split, tokenizer, 7)


def test_all_rows_are_a_hundred_per_cent():
    assert [percent(share) for share in (100, 99.8, 39.2, 0.0123)] == [
        "100 %",
        "100 %",
        "39 %",
        "0.012 %",
    ]


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_generation_configuration_that_cannot_be_read_is_named(content, tmp_path):
    path = tmp_path / "generation_config.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match="argument generation_config"):
        check_generation_config(path)
    path.write_text('{"num_beams": 2}')
    check_generation_config(str(path))
