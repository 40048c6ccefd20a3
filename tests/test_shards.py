"""Shards of a table: a missing one is found by name, before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastft.data.shards import is_shard, refuse_missing_shards, shard_note
from fastft.data.sources import open_source
from fastft.errors import DataNotFoundError

ROW = "text,label\ngood,1\n"


def paths(*names: str) -> list[Path]:
    return [Path("data") / name for name in names]


@pytest.mark.parametrize(
    "names",
    [
        ("train-00000-of-00002.csv", "train-00001-of-00002.csv"),
        ("train-1-of-2.csv", "train-2-of-2.csv"),
        ("train-0-of-1.csv",),
        ("train.csv", "other.csv"),
        (),
    ],
)
def test_whole_sets_pass(names: tuple[str, ...]) -> None:
    refuse_missing_shards(paths(*names))


@pytest.mark.parametrize(
    ("names", "missing", "found"),
    [
        (("train-00000-of-00002.parquet",), "train-00001-of-00002.parquet", "1 of 2 shards"),
        (("train-00001-of-00002.parquet",), "train-00000-of-00002.parquet", "1 of 2 shards"),
        (("a-1-of-3.csv", "a-3-of-3.csv"), "a-2-of-3.csv", "2 of 3 shards"),
        (("a-0-of-2.csv", "a-1-of-2.csv", "b-0-of-2.csv"), "b-1-of-2.csv", "1 of 2 shards"),
        # Two sets under one name: neither is whole, though together they count to two.
        (("t-0-of-2.csv", "t-1-of-3.csv"), "t-1-of-2.csv", "1 of 2 shards"),
        (("t-0-of-99999999999999999999.csv",), "t-1-of-99999999999999999999.csv", "1 of 9999"),
    ],
)
def test_the_first_missing_shard_is_named(names: tuple[str, ...], missing: str, found: str) -> None:
    with pytest.raises(DataNotFoundError) as raised:
        refuse_missing_shards(paths(*names))
    assert f"a shard is missing: {missing}\n" in str(raised.value)
    assert found in str(raised.value)


@pytest.mark.parametrize("folder", ["", "train"])
def test_a_folder_with_a_missing_shard_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "train-00000-of-00002.csv").write_text(ROW)
    with pytest.raises(DataNotFoundError, match=r"train-00001-of-00002\.csv"):
        open_source(tmp_path)


def test_one_shard_given_by_its_path_is_read_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "train-00000-of-00002.csv"
    path.write_text(ROW)
    for data in (path, {"train": path}):
        source = open_source(data)
        assert source.splits["train"].table.num_rows == 1
        assert source.notes == (f"{path} is one of 2 shards; the others are not read",)


def test_what_is_a_shard() -> None:
    assert is_shard(Path("train-00000-of-00002.jsonl"))
    assert not is_shard(Path("train-of-2.jsonl"))
    assert shard_note(Path("train-0-of-1.csv")) is None
