"""The validation cut: stratified, seeded, texts on one side, classes kept in train."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fastft.data.sources import Split, open_source
from fastft.data.splits import cut_validation, stratified_cut
from fastft.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_cut_is_the_same_in_every_run() -> None:
    labels = [0, 1] * 10
    texts = [f"text {row}" for row in range(20)]
    train, validation = stratified_cut(labels, texts, fraction=0.2, seed=42)
    assert validation.tolist() == [5, 6, 12, 13]
    assert train.dtype == validation.dtype == np.int64


def test_another_seed_gives_another_cut() -> None:
    labels = [0, 1] * 50
    texts = [str(row) for row in range(100)]
    cuts = {
        tuple(stratified_cut(labels, texts, fraction=0.1, seed=seed)[1].tolist())
        for seed in range(5)
    }
    assert len(cuts) == 5


def test_shares_of_the_classes_are_kept() -> None:
    labels = np.array(["a"] * 800 + ["b"] * 150 + ["c"] * 50)
    texts = pa.chunked_array(
        [[str(row) for row in range(600)], [str(-row) for row in range(1, 401)]]
    )
    _, validation = stratified_cut(labels, texts, fraction=0.1, seed=0)
    assert Counter(labels[validation].tolist()) == {"a": 80, "b": 15, "c": 5}


def test_many_classes_and_a_small_share() -> None:
    labels = [row % 77 for row in range(200)]
    texts = [str(row) for row in range(200)]
    train, validation = stratified_cut(labels, texts, fraction=0.05, seed=1)
    assert len(validation) == 10
    assert {labels[row] for row in train} == set(range(77))


def test_same_texts_stay_on_one_side() -> None:
    texts = ["same"] * 10 + [f"other {row}" for row in range(10)]
    train, validation = stratified_cut([0] * 20, texts, fraction=0.5, seed=3)
    assert not {texts[row] for row in train} & {texts[row] for row in validation}


def test_classes_of_one_row_go_to_train() -> None:
    labels = ["a", "a", "a", "a", "rare"]
    train, _ = stratified_cut(labels, list("vwxyz"), fraction=0.25, seed=0)
    assert 4 in train


def test_missing_texts_are_one_text() -> None:
    texts = pa.chunked_array([pa.array([None, None, "a", "b"])])
    train, validation = stratified_cut([0] * 4, texts, fraction=0.5, seed=0)
    assert {0, 1} <= set(train.tolist()) or {0, 1} <= set(validation.tolist())


@pytest.mark.parametrize(
    ("labels", "texts"),
    [([0], ["a"]), ([0, 1], ["a", "b"]), ([0, 0], ["a", "a"]), ([0, 0, 1, 1], list("aabb"))],
)
def test_too_few_rows(labels: list[int], texts: list[str]) -> None:
    with pytest.raises(DataError, match=r"(?s)too few rows.*pass validation=\.\.\."):
        stratified_cut(labels, texts, fraction=0.5, seed=0)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_share_out_of_range(fraction: float) -> None:
    with pytest.raises(ConfigurationError, match=r"(?s)not between 0 and 1.*such as 0\.1"):
        stratified_cut([0, 0], ["a", "b"], fraction=fraction, seed=0)


rows = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30)), min_size=2, max_size=80)


@given(rows=rows, fraction=st.floats(0.01, 0.99), seed=st.integers(0, 2**32 - 1))
def test_every_cut_keeps_its_promises(
    rows: list[tuple[int, int]], fraction: float, seed: int
) -> None:
    labels = [label for label, _ in rows]
    texts = [str(text) for _, text in rows]
    try:
        train, validation = stratified_cut(labels, texts, fraction=fraction, seed=seed)
    except DataError:
        assume(False)
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(len(rows)))
    assert train.tolist() == sorted(train.tolist())
    assert validation.tolist() == sorted(validation.tolist())
    assert len(validation) > 0
    assert {labels[row] for row in train} == set(labels)
    assert not {texts[row] for row in train} & {texts[row] for row in validation}
    again = stratified_cut(labels, texts, fraction=fraction, seed=seed)
    assert np.array_equal(again[1], validation)


def file_split(tmp_path: Path) -> Split:
    lines = [f"text {row},{row % 2}" for row in range(20)]
    path = tmp_path / "train.csv"
    path.write_text("text,label\n" + "\n\n".join(lines) + "\n")
    return open_source(path).splits["train"]


def test_cut_rows_keep_their_places(tmp_path: Path) -> None:
    split = file_split(tmp_path)
    texts = split.table.column("text")
    labels = split.table.column("label").to_pylist()
    train, validation = cut_validation(split, labels, texts, fraction=0.25, seed=5)
    assert (train.name, validation.name) == ("train", "validation")
    assert (train.table.num_rows, validation.table.num_rows) == (15, 5)
    for cut in (train, validation):
        for row, text in enumerate(cut.table.column("text").to_pylist()):
            line = 2 + 2 * int(text.removeprefix("text "))
            assert cut.place(row) == f"{tmp_path}/train.csv, line {line}"


def test_a_cut_of_a_cut_keeps_its_places(tmp_path: Path) -> None:
    split = file_split(tmp_path)
    for _ in range(2):
        texts = split.table.column("text")
        split, _ = cut_validation(split, [0] * len(texts), texts, fraction=0.25, seed=5)
    text = split.table.column("text")[3].as_py()
    line = 2 + 2 * int(text.removeprefix("text "))
    assert split.place(3, "text") == f"{tmp_path}/train.csv, line {line}, column 'text'"
