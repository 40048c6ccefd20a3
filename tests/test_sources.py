"""Everything a user may pass as data becomes the same splits, with places and notes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from fastft.data.sources import ReadOptions, Source, open_source

TEXTS = ["good film", "NA", "bad film"]
LABELS = [1, 1, 0]


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def columns(source: Source, split: str = "train") -> dict[str, list[Any]]:
    return dict(source.splits[split].table.to_pydict())


# Folders and files


def test_folder_of_label_files(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "train/0.txt": "\ufeffbad\n\nworse\n",
            "train/1.txt": "good\r\nbetter\r\n",
            "train/10.txt": "other\n",
            "train/.DS_Store": b"\0\xff",
            "validation/0.txt": "bad\n",
            "validation/1.txt": "\ngood\n",
        },
    )
    source = open_source(tmp_path)
    assert columns(source) == {
        "text": ["bad", "worse", "good", "better", "other"],
        "label": ["0", "0", "1", "1", "10"],
    }
    assert columns(source, "validation") == {"text": ["bad", "good"], "label": ["0", "1"]}
    assert source.label_names == ("0", "1", "10")
    assert source.columns_are_fixed
    assert source.description == (
        f"folder {tmp_path}/: train, validation; a file per label (0, 1, 10), one example per line"
    )
    assert source.notes == (
        f"skipped 1 stray file: {tmp_path}/train/.DS_Store",
        f"1 blank line skipped ({tmp_path}/train/0.txt: 1)",
        f"BOM dropped from {tmp_path}/train/0.txt",
        f"1 blank line skipped ({tmp_path}/validation/1.txt: 1)",
        "validation has no examples of the labels 10",
    )
    places = [source.splits["train"].place(row) for row in (0, 1, 2, 4)]
    assert places == [
        f"{tmp_path}/train/0.txt, line 1",
        f"{tmp_path}/train/0.txt, line 3",
        f"{tmp_path}/train/1.txt, line 1",
        f"{tmp_path}/train/10.txt, line 1",
    ]
    assert source.splits["validation"].place(1, "label").endswith("1.txt, line 2, column 'label'")


def test_folder_of_label_folders(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "train/pos/1.txt": "good\nfilm\n",
            "train/neg/1.txt": "bad",
            "test/neg/5.txt": "worse",
        },
    )
    source = open_source(tmp_path)
    assert columns(source) == {"text": ["bad", "good\nfilm"], "label": ["neg", "pos"]}
    assert columns(source, "test") == {"text": ["worse"], "label": ["neg"]}
    assert source.label_names == ("neg", "pos")
    assert source.splits["train"].place(1) == f"{tmp_path}/train/pos/1.txt"
    assert source.description.endswith("a folder per label (neg, pos), one example per file")


def test_folder_of_tables(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "train.csv": "text,label\na,1\nb,0\n",
            "dev.tsv": "text\tlabel\nc\t1\n",
            "test.jsonl": '{"text": "d"}\n',
        },
    )
    source = open_source(tmp_path)
    assert list(source.splits) == ["train", "validation", "test"]
    assert columns(source, "validation") == {"text": ["c"], "label": ["1"]}
    assert source.splits["test"].place(0) == f"{tmp_path}/test.jsonl, line 1"
    assert source.description == f"folder {tmp_path}/: train.csv, dev.tsv, test.jsonl"
    assert source.label_names is None
    assert not source.columns_are_fixed


def test_shards_are_joined_in_name_order(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "train-00001-of-00002.jsonl": '{"text": "c", "n": 0.5}\n',
            "train-00000-of-00002.jsonl": '{"text": "a", "n": 1}\n\n{"text": "b", "n": 2}\n',
        },
    )
    source = open_source(str(tmp_path))
    assert columns(source) == {"text": ["a", "b", "c"], "n": [1.0, 2.0, 0.5]}
    assert source.splits["train"].place(1).endswith("train-00000-of-00002.jsonl, line 3")
    assert source.splits["train"].place(2).endswith("train-00001-of-00002.jsonl, line 1")


def test_one_file(tmp_path: Path) -> None:
    write(tmp_path, {"reviews.csv": "text,label\na,1\n"})
    for data in (tmp_path / "reviews.csv", str(tmp_path / "reviews.csv"), tmp_path):
        source = open_source(data)
        assert columns(source) == {"text": ["a"], "label": ["1"]}
    assert open_source(tmp_path / "reviews.csv").description == f"file {tmp_path}/reviews.csv"
    assert open_source(tmp_path).description == f"folder {tmp_path}/: reviews.csv"


def test_relative_paths_stay_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"data/train.csv": "text\na\n"})
    monkeypatch.chdir(tmp_path)
    assert open_source("data").splits["train"].place(0) == "data/train.csv, line 2"
    assert open_source("data/").description == "folder data/: train.csv"


def test_folder_without_train_where_none_is_asked(tmp_path: Path) -> None:
    write(tmp_path, {"test/1.txt": "a\n", "test/0.txt": "b\n"})
    source = open_source(tmp_path, require_train=False)
    assert list(source.splits) == ["test"]
    assert source.label_names == ("0", "1")


# Dicts of splits


def test_dict_of_paths_and_objects(tmp_path: Path) -> None:
    write(tmp_path, {"a/0.txt": "a\n", "a/1.txt": "b\n", "b.csv": "text,label\nc,1\n"})
    source = open_source({"test": [("d", "1")], "dev": tmp_path / "b.csv", "train": tmp_path / "a"})
    assert list(source.splits) == ["train", "validation", "test"]
    assert columns(source) == {"text": ["a", "b"], "label": ["0", "1"]}
    assert source.splits["validation"].place(0) == f"{tmp_path}/b.csv, line 2"
    assert source.splits["test"].place(0) == "row 0 of the list given as data['test']"
    assert source.label_names == ("0", "1")
    assert not source.columns_are_fixed
    assert "validation: file " in source.description


def test_dict_of_label_folders_fixes_the_columns(tmp_path: Path) -> None:
    write(tmp_path, {"a/0.txt": "a\n", "b/0/1.txt": "b\n"})
    assert open_source({"train": tmp_path / "a", "test": tmp_path / "b"}).columns_are_fixed


# Python objects


@pytest.mark.parametrize(
    "data",
    [
        {"text": TEXTS, "label": LABELS},
        {"text": np.array(TEXTS), "label": np.array(LABELS)},
        {"text": pa.array(TEXTS), "label": pl.Series(LABELS)},
        list(zip(TEXTS, LABELS, strict=True)),
        tuple(zip(TEXTS, LABELS, strict=True)),
        [[text, np.int64(label)] for text, label in zip(TEXTS, LABELS, strict=True)],
        [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)],
        pd.DataFrame({"text": TEXTS, "label": LABELS}),
        pd.DataFrame({"text": TEXTS, "label": LABELS}, index=pd.Index([7, 8, 9], name="id")),
        pd.DataFrame({"text": pd.Categorical(TEXTS), "label": LABELS}, index=list("xyz")),
        pl.DataFrame({"text": TEXTS, "label": LABELS}),
        pl.DataFrame({"text": pl.Series(TEXTS, dtype=pl.Categorical), "label": LABELS}),
        pa.table({"text": TEXTS, "label": LABELS}),
        pa.table({"text": pa.array(TEXTS).dictionary_encode(), "label": LABELS}),
        pa.table({"text": pa.array(TEXTS, pa.string_view()), "label": LABELS}),
        pa.record_batch({"text": TEXTS, "label": LABELS}),
        pa.table({"text": TEXTS, "label": LABELS}).to_reader(),
        datasets.Dataset.from_dict({"text": TEXTS, "label": LABELS}),
        datasets.Dataset.from_dict({"text": TEXTS[::-1], "label": LABELS[::-1]}).select([2, 1, 0]),
    ],
    ids=lambda data: type(data).__module__ + "." + type(data).__name__,
)
def test_objects_give_the_same_table(data: object) -> None:
    source = open_source(data)
    table = source.splits["train"].table
    assert table.to_pydict() == {"text": TEXTS, "label": LABELS}
    assert table.schema.field("text").type in (pa.string(), pa.large_string())
    name = type(data).__name__
    assert source.splits["train"].place(2) == f"row 2 of the {name} given as data"
    assert source.description == f"the {name} given as data, 3 rows"
    is_pair_list = isinstance(data, list | tuple) and not isinstance(data[0], dict)
    assert source.columns_are_fixed == is_pair_list


def test_missing_values_stay_missing() -> None:
    values = ["a", None, np.nan, pd.NA]
    frame = pd.DataFrame({"text": pd.Series(values, dtype=object)})
    assert columns(open_source(frame)) == {"text": ["a", None, None, None]}
    assert columns(open_source({"text": frame["text"]})) == {"text": ["a", None, None, None]}
    assert columns(open_source([{"text": "a"}, {"label": 1}])) == {
        "text": ["a", None],
        "label": [None, 1],
    }
    assert columns(open_source([("a", None), ("b", 1)])) == {"text": ["a", "b"], "label": [None, 1]}


def test_dataset_dict_with_a_split_that_is_not_used() -> None:
    dataset = datasets.Dataset.from_dict({"text": ["a"], "label": [0]})
    data = datasets.DatasetDict(test=dataset, train=dataset, unsupervised=dataset)
    source = open_source(data)
    assert list(source.splits) == ["train", "test"]
    assert source.notes == ("split 'unsupervised' is not used",)
    assert source.splits["test"].place(0) == "row 0 of the Dataset given as data['test']"


def test_class_names_of_datasets_stay_in_the_schema() -> None:
    features = datasets.Features(label=datasets.ClassLabel(names=["neg", "pos"]))
    data = datasets.Dataset.from_dict({"label": [0, 1]}, features=features)
    metadata = open_source(data).splits["train"].table.schema.metadata
    assert b'"names": ["neg", "pos"]' in metadata[b"huggingface"]


def test_arrow_tables_are_not_copied() -> None:
    table = pa.table({"text": TEXTS})
    taken = open_source(table).splits["train"].table
    before, after = (t.column("text").chunk(0).buffers()[2].address for t in (table, taken))
    assert before == after


# Real data


@pytest.fixture(scope="module")
def shared() -> Path:
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data")
    return folder


@pytest.mark.parametrize(
    ("name", "rows", "names"),
    [
        (
            "classification/sst2_glue",
            {"train": 67349, "validation": 872, "test": 1821},
            ["sentence", "label"],
        ),
        ("classification/banking77", {"train": 10003, "test": 3080}, ["text", "category"]),
        (
            "pairs/mrpc",
            {"train": 3667, "validation": 408},
            ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"],
        ),
        ("classification/imdb", {"train": 25000}, ["id", "text", "label"]),
        ("classification/waimai_10k", {"train": 11987}, ["label", "review"]),
        (
            "pairs/rte_glue",
            {"train": 2490, "validation": 277, "test": 3000},
            ["index", "sentence1", "sentence2", "label"],
        ),
    ],
)
def test_real_folders(shared: Path, name: str, rows: dict[str, int], names: list[str]) -> None:
    source = open_source(shared / name)
    assert {split: each.table.num_rows for split, each in source.splits.items()} == rows
    assert source.splits["train"].table.column_names == names


def test_mrpc_marks_are_noted(shared: Path) -> None:
    notes = open_source(shared / "pairs" / "mrpc").notes
    assert sum(note.startswith("BOM dropped from") for note in notes) == 2


def test_quoting_reaches_the_tsv_reader(tmp_path: Path) -> None:
    write(tmp_path, {"train.tsv": 'text\tlabel\n"a\tb"\t1\n'})
    source = open_source(tmp_path, ReadOptions(quoting=True))
    assert columns(source) == {"text": ["a\tb"], "label": ["1"]}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("classification/cola", "the first line looks like a row"),
        ("classification/clinc150/data_full.json", "one JSON object, not rows"),
        ("classification/chnsenticorp", "is compressed"),
        ("classification/tweeteval_emotion_offensive", "speak of splits, not of labels"),
        ("qa/xquad", "none of the files carries the name of a split"),
    ],
)
def test_real_folders_that_cannot_be_read(shared: Path, name: str, words: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        open_source(shared / name)
