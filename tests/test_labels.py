from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from fastft.data.sources import open_source
from fastft.errors import LabelError
from fastft.tasks.labels import LabelSet, class_label_names, read_label_set
from tests.tiny import tiny_config


def split(labels, **columns):
    table = {"text": [f"text {row}" for row in range(len(labels))], "label": labels, **columns}
    return open_source(table).splits["train"]


def test_numbers_sort_as_numbers():
    labels = read_label_set(split([10, 9, 2, 10]), "label")
    assert labels.names == ("2", "9", "10")
    assert labels.id2label == {0: "2", 1: "9", 2: "10"}


def test_digits_in_text_files_sort_as_numbers_too():
    assert read_label_set(split(["10", "9", "2"]), "label").names == ("2", "9", "10")


def test_names_sort_as_text():
    assert read_label_set(split(["spam", "ham", "spam"]), "label").names == ("ham", "spam")


def test_booleans_are_names():
    assert read_label_set(split([True, False]), "label").names == ("false", "true")


def test_given_names_decide_the_order():
    labels = read_label_set(split(["no", "yes"]), "label", ["yes", "no"])
    assert labels.encode(split(["no", "yes", "no"]), "label").tolist() == [1, 0, 1]


def test_ids_are_int64():
    labels = LabelSet(("ham", "spam"))
    ids = labels.encode(split(["spam", "ham"]), "label")
    assert ids.dtype == np.int64
    assert ids.tolist() == [1, 0]


def test_class_names_of_hugging_face_datasets_are_kept():
    features = {"label": {"names": ["negative", "positive"], "_type": "ClassLabel"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    table = pa.table({"text": ["a", "b"], "label": [1, 0]}).replace_schema_metadata(metadata)
    train = open_source(table).splits["train"]
    labels = read_label_set(train, "label")
    assert labels.names == ("negative", "positive")
    assert labels.encode(train, "label").tolist() == [1, 0]
    assert class_label_names(table.schema, "text") is None


def refused(labels, given=None):
    with pytest.raises(LabelError) as caught:
        read_label_set(split(labels), "label", given)
    return str(caught.value)


def test_a_single_row_has_nothing_to_learn():
    assert "1 row labelled 'a'" in refused(["a"])


def test_one_class_only_has_nothing_to_learn():
    assert "every example has the same label" in refused([1, 1, 1])


@pytest.mark.parametrize("missing", [None, "", " ", "\t\n", "\u00a0"])
def test_a_missing_label_names_its_row(missing):
    text = refused(["a", "b", missing, missing])
    assert "row 2" in text
    assert "2 such rows" in text


def test_nan_is_a_missing_label():
    assert "row 1" in refused([0.0, float("nan"), 1.0])


def test_decimal_labels_are_refused_with_two_remedies():
    assert "turn the column into integers" in refused([0.0, 1.0])
    assert "scores, not classes" in refused([0.5, 1.0])


def test_numbers_among_names_are_refused_with_the_odd_row():
    text = refused(["good", "bad", "1", "good"])
    assert "row 2" in text
    assert "'1' beside" in text
    assert "label_names" in text


def test_numbers_among_names_are_allowed_when_the_names_are_given():
    labels = read_label_set(split(["2020", "none"]), "label", ["2020", "none"])
    assert labels.names == ("2020", "none")


def test_a_label_that_training_lacks_names_row_and_nearest():
    with pytest.raises(LabelError) as caught:
        LabelSet(("ham", "spam")).encode(split(["ham", "spma"]), "label")
    assert "row 1" in str(caught.value)
    assert "did you mean 'spam'" in str(caught.value)


def test_a_head_with_other_outputs_is_refused():
    train = split(["a", "b", "c"])
    with pytest.raises(LabelError, match="3 labels and the model's head has 2"):
        read_label_set(train, "label").fit_to_head(train, "label", tiny_config(num_labels=2))


def test_a_number_that_is_no_output_is_refused_with_its_row():
    train = split([0, 1, 7])
    with pytest.raises(LabelError) as caught:
        read_label_set(train, "label").fit_to_head(train, "label", tiny_config(num_labels=3))
    assert "row 2" in str(caught.value)
    assert "0 to 2" in str(caught.value)


def test_the_order_of_a_heads_own_names_is_kept():
    train = split(["negative", "positive"])
    config = tiny_config(id2label={0: "positive", 1: "negative"})
    labels = read_label_set(train, "label").fit_to_head(train, "label", config)
    assert labels.names == ("positive", "negative")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ([0, 1], "0 in 0, 1"),
        ([True, False], "True in True, False"),
        (["a", None], "None in 'a', None"),
        (["a", 1.5], "1.5 in 'a', 1.5"),
        ({"a": 0, "b": 1}, "{'a': 0, 'b': 1}"),
        ({"a"}, "{'a'}"),
        ("ab", "'ab'"),
        (b"ab", "b'ab'"),
        (5, "5"),
        (iter(["a", "b"]), "iterator"),
    ],
)
def test_label_names_that_are_no_list_of_strings(given, found):
    text = refused(["a", "b"], given)
    assert "argument label_names: label_names is not a list of strings" in text
    assert found in text


def test_numbers_given_as_names_are_shown_as_strings():
    assert "pass label_names=['0', '1']" in refused(["a", "b"], [0, 1])


@pytest.mark.parametrize("given", [("a", "b"), np.array(["a", "b"]), np.array(["a", "b"], object)])
def test_label_names_in_a_tuple_or_array(given):
    labels = read_label_set(split(["b", "a"]), "label", given)
    assert labels.names == ("a", "b")
    assert all(type(name) is str for name in labels.names)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([], "label_names is empty"),
        (["a", "b", "a"], "label_names holds 'a' 2 times"),
        (["a", "b", " "], "label_names holds a blank name"),
        (["a", "b", "c\ud800"], "half of a surrogate pair"),
    ],
)
def test_label_names_that_cannot_name_classes(given, problem):
    assert problem in refused(["a", "b"], given)


def test_labels_that_label_names_lacks_are_named_with_their_row():
    text = refused(["a", "b", "c", "c", "d"], ["a", "b", "other"])
    assert "row 2 of the dict given as data, column 'label'" in text
    assert "label_names lacks 2 of the 4 labels" in text
    assert "'c', 'd' (3 such rows)" in text
    assert "add 'c' to label_names" in text
    assert "did you mean 'spam' where label_names has 'spma'" in refused(
        ["spam", "x"], ["spma", "x"]
    )


def test_names_for_numbers_say_how_to_turn_the_numbers_into_names():
    text = refused([1, 0, 1], ["no", "yes"])
    assert "turn the numbers into names first ({0: 'no', 1: 'yes'})" in text


def test_names_without_rows_are_kept_and_noted():
    labels = read_label_set(split(["a", "b"]), "label", ["a", "b", "c"])
    assert labels.names == ("a", "b", "c")
    ids = labels.encode(split(["a", "b"]), "label")
    assert "the label 'c'" in labels.note_on_unused(ids)
    assert LabelSet(("a", "b")).note_on_unused(ids) is None


@pytest.mark.parametrize(
    "names",
    [("spam", "spam "), ("Spam", "spam"), ("spam", "sp am"), ("1", "01"), ("ham", "ham\u200b"),
     ("caf\u00e9", "cafe\u0301"), ("a", "\u00a0a")],
)  # fmt: skip
def test_labels_that_look_alike_are_a_warning(names):
    (warning,) = LabelSet((*names, "other")).warnings("topic")
    assert "column 'topic': labels that look alike" in str(warning)
    assert "other" not in str(warning)
    assert all(repr(name) in str(warning) for name in names)


def test_labels_that_do_not_look_alike_are_no_warning():
    assert LabelSet(("spam", "ham", "1", "10", "-1", "+", "-")).warnings("label") == []


@pytest.mark.parametrize("labels", [["--1", "2"], ["9" * 5000, "1"], ["+1", "1"]])
def test_what_only_looks_like_a_number_is_a_name(labels):
    text = refused(labels)
    assert "mix numbers and names" in text
    assert len(text) < 800


def test_numbers_that_lost_digits_are_refused_with_their_row(tmp_path):
    rows = "".join(json.dumps({"text": "a", "label": label}) + "\n" for label in (1, 2**70))
    (tmp_path / "train.jsonl").write_text(rows)
    with pytest.raises(LabelError) as caught:
        read_label_set(open_source(tmp_path).splits["train"], "label")
    assert "train.jsonl, line 2, column 'label': a label is a number beyond 64 bits" in str(
        caught.value
    )
    assert "in quotes" in str(caught.value)


@pytest.mark.parametrize("names", [5, "ab", {"a": 0}, [], None])
def test_metadata_that_holds_no_names_is_ignored(names):
    features = {"label": {"names": names, "_type": "ClassLabel"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    table = pa.table({"text": ["a", "b"], "label": [1, 0]}).replace_schema_metadata(metadata)
    assert read_label_set(open_source(table).splits["train"], "label").names == ("0", "1")
