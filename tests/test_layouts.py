"""Which files make up which split, found by name alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fastft.data.layouts import find_split, find_splits
from fastft.data.path_names import canonical_split, label_order
from fastft.data.split_files import DataFile, SplitFiles, Tree

if TYPE_CHECKING:
    from pathlib import Path


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def shape(root: Path, tree: Tree) -> dict[str, tuple[str, list[tuple[str, str | None]]]]:
    """Gives kind, file and label of every file, by split."""
    return {name: one_shape(root, files) for name, files in tree.splits.items()}


def one_shape(root: Path, files: SplitFiles) -> tuple[str, list[tuple[str, str | None]]]:
    listed = [(file.path.relative_to(root).as_posix(), file.label) for file in files.files]
    return files.kind, listed


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("TRAIN", "train"),
        ("validation", "validation"),
        ("valid", "validation"),
        ("val", "validation"),
        ("dev", "validation"),
        ("test", "test"),
        ("eval", "test"),
        ("training", None),
        ("", None),
    ],
)
def test_canonical_split(name: str, split: str | None) -> None:
    assert canonical_split(name) == split


def test_label_order_sorts_numbers_by_value_before_names() -> None:
    labels = ["b", "10", "-1", "9", "a", "01", "1"]
    assert sorted(labels, key=label_order) == ["-1", "01", "1", "9", "10", "a", "b"]


def test_label_files(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.txt", "train/0.txt", "train/10.txt", "train/2.txt", "dev/0.txt")
    assert shape(tmp_path, find_splits(tmp_path)) == {
        "train": (
            "label-files",
            [
                ("train/0.txt", "0"),
                ("train/1.txt", "1"),
                ("train/2.txt", "2"),
                ("train/10.txt", "10"),
            ],
        ),
        "validation": ("label-files", [("dev/0.txt", "0")]),
    }


def test_label_folders(tmp_path: Path) -> None:
    touch(tmp_path, "train/pos/b.txt", "train/pos/a.txt", "train/neg/c.txt", "test/pos/d.txt")
    assert shape(tmp_path, find_splits(tmp_path)) == {
        "train": (
            "label-folders",
            [("train/neg/c.txt", "neg"), ("train/pos/a.txt", "pos"), ("train/pos/b.txt", "pos")],
        ),
        "test": ("label-folders", [("test/pos/d.txt", "pos")]),
    }


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json", ".parquet", ".CSV"])
def test_tables_by_split(tmp_path: Path, suffix: str) -> None:
    touch(tmp_path, f"train{suffix}", f"valid{suffix}", f"eval{suffix}")
    assert shape(tmp_path, find_splits(tmp_path)) == {
        "train": ("table", [(f"train{suffix}", None)]),
        "validation": ("table", [(f"valid{suffix}", None)]),
        "test": ("table", [(f"eval{suffix}", None)]),
    }


def test_shards_stand_in_name_order(tmp_path: Path) -> None:
    touch(tmp_path, "train-00001-of-00002.parquet", "train-00000-of-00002.parquet")
    expected = [("train-00000-of-00002.parquet", None), ("train-00001-of-00002.parquet", None)]
    assert shape(tmp_path, find_splits(tmp_path)) == {"train": ("table", expected)}


def test_a_split_folder_may_hold_tables(tmp_path: Path) -> None:
    touch(tmp_path, "train/b.csv", "train/a.csv", "validation/only.csv")
    assert shape(tmp_path, find_splits(tmp_path)) == {
        "train": ("table", [("train/a.csv", None), ("train/b.csv", None)]),
        "validation": ("table", [("validation/only.csv", None)]),
    }


def test_the_only_table_of_a_folder_is_train(tmp_path: Path) -> None:
    touch(tmp_path, "reviews.csv")
    assert shape(tmp_path, find_splits(tmp_path)) == {"train": ("table", [("reviews.csv", None)])}


def test_an_archive_beside_the_only_table_is_a_stray(tmp_path: Path) -> None:
    touch(tmp_path, "source.csv", "backup.zip", "readme.txt")
    tree = find_splits(tmp_path)
    assert shape(tmp_path, tree) == {"train": ("table", [("source.csv", None)])}
    assert sorted(path.name for path in tree.strays) == ["backup.zip", "readme.txt"]


def test_a_folder_of_labels_is_train(tmp_path: Path) -> None:
    touch(tmp_path, "pos/1.txt", "neg/1.txt")
    expected = [("neg/1.txt", "neg"), ("pos/1.txt", "pos")]
    assert shape(tmp_path, find_splits(tmp_path)) == {"train": ("label-folders", expected)}


def test_find_split_of_a_label_folder(tmp_path: Path) -> None:
    touch(tmp_path, "train/0.txt", "train/1.txt")
    files, strays = find_split(tmp_path / "train")
    assert files.files == (
        DataFile(tmp_path / "train/0.txt", "0"),
        DataFile(tmp_path / "train/1.txt", "1"),
    )
    assert strays == []


def test_strays_are_kept_apart(tmp_path: Path) -> None:
    strays = [
        ".DS_Store",
        "LICENSE",
        "README.md",
        "SOURCE.txt",
        "Thumbs.db",
        "backup.zip",
        "labels.csv",
        "train/.DS_Store",
        "train/README.txt",
        "train/empty/notes.md",
    ]
    touch(tmp_path, "train/0.txt", *strays)
    tree = find_splits(tmp_path)
    assert shape(tmp_path, tree) == {"train": ("label-files", [("train/0.txt", "0")])}
    named = [path.relative_to(tmp_path).as_posix() for path in tree.strays]
    assert named == [*strays[:9], "train/empty"]


def test_names_near_a_split_that_is_there_are_strays(tmp_path: Path) -> None:
    touch(tmp_path, "train.csv", "training.csv", "test.csv", "tests.csv", "dev.csv")
    tree = find_splits(tmp_path)
    assert [path.name for path in tree.strays] == ["tests.csv", "training.csv"]


@pytest.mark.parametrize(
    ("layout", "first"),
    [
        ("table", "train.csv"),
        ("label-files", "train/0.txt"),
        ("label-folders", "train/pos/1.txt"),
    ],
)
def test_the_layout_picks_a_reading(tmp_path: Path, layout: str, first: str) -> None:
    touch(tmp_path, "train.csv", "train/0.txt", "train/pos/1.txt")
    tree = find_splits(tmp_path, layout)
    kind, files = one_shape(tmp_path, tree.splits["train"])
    assert (kind, files[0][0]) == (layout, first)
