"""Rows that are made to fit, against plain Python on lists; columns and type ids follow."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastft
from fastft.data.ragged_column import RaggedColumn
from fastft.data.token_dataset import TokenDataset
from fastft.data.type_ids import TypeIds
from tests.tiny import sentences, tiny_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Example = dict[str, Any]
OF_TOKENS = ("input_ids", "token_type_ids", "attention_mask", "tags")


def flat_dataset(lengths: list[int], type_ids: str, dtype: Any, with_spans: bool) -> TokenDataset:
    """Rows whose tokens are all different, with type ids of one of the three forms."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64)
    num_tokens = int(offsets[-1])
    starts = [(7 * row) % (length + 1) for row, length in enumerate(lengths)]
    forms = {
        "zero": TypeIds(),
        "starts": TypeIds(second_segment_starts=np.array(starts, np.uint32)),
        "flat": TypeIds(flat=(np.arange(num_tokens) % 3).astype(np.uint8)),
    }
    columns: dict[str, Any] = {
        "labels": np.arange(len(lengths)),
        "scores": np.arange(2 * len(lengths), dtype=np.float32).reshape(-1, 2),
        "tags": RaggedColumn(np.arange(num_tokens, dtype=np.int32) + 100, offsets.astype(np.int64)),
    }
    if with_spans:
        columns["spans"] = RaggedColumn.from_rows(
            [[row] * (row % 3 + 1) for row in range(len(lengths))]
        )
    return TokenDataset(
        np.arange(num_tokens, dtype=dtype), offsets, forms[type_ids], columns=columns
    )


def pieces(example: Example, starts: range, max_length: int) -> Iterator[Example]:
    for start in starts:
        yield {
            name: value[start : start + max_length] if name in OF_TOKENS else value
            for name, value in example.items()
        }


def expected(rows: list[Example], max_length: int, overlong: str) -> list[Example]:
    fitted: list[Example] = []
    for row in rows:
        length = len(row["input_ids"])
        if overlong == "split":
            fitted += pieces(row, range(0, max(length, 1), max_length), max_length)
        elif overlong == "truncate":
            fitted += pieces(row, range(1), max_length)
        elif length <= max_length:
            fitted.append(row)
    return fitted


@pytest.mark.parametrize("overlong", ["truncate", "split", "drop"])
@given(
    lengths=st.lists(st.integers(0, 12), max_size=12),
    max_length=st.integers(1, 13),
    type_ids=st.sampled_from(["zero", "starts", "flat"]),
    dtype=st.sampled_from([np.uint16, np.uint32]),
    with_spans=st.booleans(),
)
def test_rows_are_those_of_plain_python(
    overlong: str, lengths: list[int], max_length: int, type_ids: str, dtype: Any, with_spans: bool
) -> None:
    dataset = flat_dataset(lengths, type_ids, dtype, with_spans and overlong != "split")
    rows = [dataset[row] for row in range(len(dataset))]
    fitted = dataset.fit(max_length, overlong)
    assert [fitted[row] for row in range(len(fitted))] == expected(rows, max_length, overlong)
    assert fitted.ids.dtype == dtype
    assert [dataset[row] for row in range(len(dataset))] == rows

    too_long = [length for length in lengths if length > max_length]
    assert (fitted is dataset) == (not too_long)
    counts = {"truncate": (len(too_long), 0, 0), "drop": (0, len(too_long), 0)}
    assert (
        fitted.num_truncated_rows,
        fitted.num_dropped_rows,
        fitted.num_split_rows,
    ) == counts.get(overlong, (0, 0, len(too_long)))
    lost = sum(length - max_length for length in too_long)
    assert fitted.num_truncated_tokens == (lost if overlong == "truncate" else 0)
    again = pickle.loads(pickle.dumps(fitted))
    assert [again[row] for row in range(len(again))] == [fitted[row] for row in range(len(fitted))]
    assert (again.num_dropped_rows, again.num_split_rows) == (
        fitted.num_dropped_rows,
        fitted.num_split_rows,
    )


def test_pieces_share_the_ids() -> None:
    dataset = flat_dataset([5, 2], "flat", np.uint16, with_spans=False)
    fitted = dataset.fit(2, overlong="split")
    assert np.shares_memory(fitted.ids, dataset.ids)
    assert fitted.lengths.tolist() == [2, 2, 1, 2]


def test_a_row_that_is_too_long_is_named() -> None:
    dataset = flat_dataset([3, 5, 2, 9], "zero", np.uint16, with_spans=False)
    with pytest.raises(fastft.ConfigurationError) as caught:
        dataset.fit(4)
    assert str(caught.value) == (
        "row 1: a row is longer than max_length\n"
        "  found:    5 tokens; 2 of 4 rows are too long\n"
        "  expected: at most 4 tokens\n"
        "  fix:      max_length=9, or overlong='truncate' or overlong='split' or overlong='drop'"
    )
    assert dataset.fit(9) is dataset
    assert dataset.fit(10**30, "split") is dataset


def test_a_column_of_other_lengths_cannot_be_split() -> None:
    dataset = flat_dataset([3, 5], "zero", np.uint16, with_spans=True)
    with pytest.raises(fastft.ColumnError, match="column 'spans'"):
        dataset.fit(4, overlong="split")
    assert dataset.fit(5, overlong="split") is dataset


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "max_length is not a number of at least 1"),
        ((2.0,), "max_length is not a number of at least 1"),
        ((4, "cut"), "'error' or 'truncate' or 'split' or 'drop'"),
        ((400, "spilt"), "overlong='split'"),
    ],
)
def test_arguments_that_cannot_work(arguments: tuple[Any, ...], message: str) -> None:
    dataset = flat_dataset([3, 5], "zero", np.uint16, with_spans=False)
    with pytest.raises(fastft.ConfigurationError, match=message):
        dataset.fit(*arguments)


def test_counts_add_up_and_are_kept_in_a_file(tmp_path: Path) -> None:
    texts = [text for text, _ in sentences(40)]
    dataset = TokenDataset.from_texts(texts, tiny_tokenizer(), max_length=9)
    before = (dataset.num_truncated_rows, dataset.num_truncated_characters)
    assert min(before) > 0  # type: ignore[type-var]
    num_longer = int((dataset.lengths > 6).sum())
    fitted = dataset.fit(6, overlong="truncate").fit(5, overlong="drop")
    assert fitted.num_truncated_rows == before[0] + num_longer
    assert fitted.num_truncated_tokens == int(np.maximum(dataset.lengths, 6).sum()) - 6 * len(texts)
    assert fitted.num_truncated_characters == before[1]
    assert fitted.num_dropped_rows == len(texts) - len(fitted) > 0
    assert repr(fitted).endswith(f"; {fitted.num_dropped_rows} rows left out)")
    fitted.save(tmp_path / "fitted.safetensors")
    loaded = TokenDataset.load(tmp_path / "fitted.safetensors")
    assert loaded.num_dropped_rows == fitted.num_dropped_rows
    assert loaded.num_truncated_tokens == fitted.num_truncated_tokens


def test_rows_of_a_mapped_folder(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("text,label\n" + "".join(f"{text},1\n" for text, _ in sentences(30)), "utf-8")
    dataset = TokenDataset.from_files(
        file, tiny_tokenizer(), columns={"labels": "label"}, cache_dir=tmp_path / "cache"
    )
    rows = [dataset[row] for row in range(len(dataset))]
    for overlong in ("truncate", "split", "drop"):
        fitted = dataset.fit(7, overlong=overlong)
        assert [fitted[row] for row in range(len(fitted))] == expected(rows, 7, overlong)
