"""Python values that Arrow cannot hold are named by their row, whatever the object around them."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from fastft.data.sources import open_source
from fastft.errors import ColumnError, DataError, Error


class Colour(enum.Enum):
    RED = 1


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def message(kind: type[Error], data: object) -> str:
    with pytest.raises(kind) as raised:
        open_source(data)
    assert type(raised.value) is kind
    assert raised.value.fix
    return str(raised.value)


def every_shape(values: list[Any]) -> list[object]:
    """The same column in all the objects that may hold Python values."""
    return [
        [(f"text {row}", value) for row, value in enumerate(values)],
        [{"text": "a", "label": value} for value in values],
        {"text": ["a"] * len(values), "label": values},
        pd.DataFrame({"label": pd.Series(values, dtype=object)}),
    ]


@pytest.mark.parametrize(
    ("value", "other", "words"),
    [
        (2**70, 1, "is an integer beyond int64"),
        ("a\ud800", "b", "holds half of a surrogate pair"),
        ({"x": ["\udfff"]}, {"x": ["a"]}, "holds half of a surrogate pair"),
        (1j, 2, "is of a kind that Arrow cannot hold"),
    ],
)
def test_a_value_that_arrow_refuses_is_named_by_its_row(value: Any, other: Any, words: str) -> None:
    for data in every_shape([other, other, value, other]):
        text = message(ColumnError, data)
        assert text.startswith("row 2 of the ")
        assert f"a value of column 'label' {words}" in text


def test_the_fix_fits_the_value() -> None:
    for value, fix in ((torch.tensor(1), ".item()"), (Colour.RED, "value.name"), (2**70, "str(")):
        assert fix in message(ColumnError, {"text": ["a"], "label": [value]})


@pytest.mark.parametrize("make", [lambda: nested(101), lambda: nested(200_000), endless])
def test_values_nested_too_deep_are_refused(make: Any) -> None:
    text = message(ColumnError, {"text": ["a", "b"], "label": [[], make()]})
    assert text.startswith("row 1 of the dict given as data")
    assert "more than 100 levels" in text


def test_values_nested_deep_enough_are_read() -> None:
    assert open_source({"a": [nested(99)]}).splits["train"].table.num_rows == 1


@pytest.mark.parametrize("values", [np.array("a"), np.zeros((2, 2)), np.array([["a"]], object)])
def test_arrays_that_are_no_column(values: Any) -> None:
    assert f"an array of shape {values.shape}" in message(ColumnError, {"text": values})


def test_a_name_that_utf8_cannot_express() -> None:
    for data in ([{"a\ud800": 1}], {"a\ud800": [1]}):
        assert "the name of a column holds half of a surrogate pair" in message(ColumnError, data)


def test_names_that_become_the_same_text() -> None:
    for data in ([{1: "a", "1": "b"}], {1: ["a"], "1": ["b"]}):
        assert "'1' stands 2 times" in message(ColumnError, data)


@pytest.mark.parametrize(
    ("values", "fix"),
    [
        (torch.tensor([0, 1]), "values.tolist()"),
        (range(2), "list(values)"),
        ({"a", "b"}, "list(values)"),
        ("ab", "as a list,"),
        (None, "as a list,"),
    ],
)
def test_a_column_that_is_no_list_says_how_to_make_it_one(values: Any, fix: str) -> None:
    assert fix in message(ColumnError, {"text": ["a", "b"], "label": values})


class Rows:
    def __len__(self) -> int:
        return 2

    def __getitem__(self, row: int) -> tuple[str, int]:
        return ("a", row)


class Iterable(Rows):
    def __iter__(self) -> Any:
        return iter([("a", 1)])


class Lazy:
    def collect(self) -> None: ...


@pytest.mark.parametrize(
    ("make", "fix"),
    [
        (lambda: (row for row in [("a", 1)]), "list(data['train'])"),
        (lambda: {("a", 1)}, "list(data['train'])"),
        (lambda: np.array([["a", "b"]]), "data['train'].tolist()"),
        (Rows, "[data['train'][i] for i in range(len(data['train']))]"),
        (Iterable, "list(data['train'])"),
        (Lazy, "data['train'].collect()"),
        (lambda: 3, "convert it"),
        (lambda: dict, "pass one of these"),
    ],
)
def test_the_fix_of_an_object_that_is_no_table_runs(make: Any, fix: str) -> None:
    assert fix in message(DataError, {"train": make()})


def test_a_stream_of_datasets() -> None:
    datasets = pytest.importorskip("datasets")
    stream = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}).to_iterable_dataset()
    assert "list(data)" in message(DataError, stream)
    for data in ({"train": stream}, datasets.IterableDatasetDict({"train": stream})):
        assert "list(data['train'])" in message(DataError, data)
    assert open_source(list(stream)).splits["train"].table.num_rows == 2


@pytest.mark.parametrize("item", [None, np.array(["a", "b"])])
def test_an_item_that_is_no_pair_has_a_fix_of_its_own(item: Any) -> None:
    fix = "remove the items that are None" if item is None else "tolist()"
    assert fix in message(DataError, [("a", 1), item])


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        raise RuntimeError("no stream")


def test_objects_that_fail_when_they_are_looked_at() -> None:
    assert "RuntimeError: 'no stream'" in message(DataError, Broken())
    assert "RuntimeError: no stream" in message(ColumnError, {"text": Broken()})
    assert "Broken object" in message(DataError, [Broken()])


def test_arrow_columns_of_a_dict_are_read() -> None:
    source = open_source({"text": pa.array(["a"]), "label": pa.chunked_array([[1]])})
    assert source.splits["train"].table.to_pydict() == {"text": ["a"], "label": [1]}


@pytest.mark.parametrize("split", ["train", "validation", "test", "dev"])
def test_a_split_that_is_none(split: str) -> None:
    text = message(DataError, {"train": [("a", 1)], split: None})
    assert f"argument data['{split}']: the " in text
    assert "split is None" in text
