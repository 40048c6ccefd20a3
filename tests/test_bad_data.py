"""Every kind of bad data gets an error that names the place and what to change."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastft.data.sources import ReadOptions, open_source
from fastft.errors import (
    ColumnError,
    ConfigurationError,
    DataError,
    DataNotFoundError,
    Error,
    LabelError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

GOOD_CSV = "text,label\ngood,1\nbad,0\n"


def write(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Writes files below a folder and gives the folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


class BytesPath(os.PathLike[bytes]):
    """A path in bytes, which pathlib does not take."""

    def __fspath__(self) -> bytes:
        return b"data"


def message(error: type[Error], data: object, options: ReadOptions | None = None) -> str:
    """Opens bad data and gives the text of its error."""
    with pytest.raises(error) as raised:
        open_source(data, options or ReadOptions())
    assert type(raised.value) is error
    return str(raised.value)


def assert_says(text: str, *parts: str) -> None:
    for part in parts:
        assert part in text, f"{part!r} is not in:\n{text}"


# Folders and splits


def test_missing_folder_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, {"reviews/train.csv": GOOD_CSV})
    text = message(DataNotFoundError, tmp_path / "reveiws")
    assert_says(text, "no such file or folder", "did you mean", str(tmp_path / "reviews"))


def test_missing_file_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, {"train.csv": GOOD_CSV})
    assert_says(message(DataNotFoundError, str(tmp_path / "trian.csv")), "train.csv")


def test_missing_parent_is_named_rather_than_the_file(tmp_path: Path) -> None:
    write(tmp_path, {"reviews/train.csv": GOOD_CSV})
    text = message(DataNotFoundError, tmp_path / "review" / "train.csv")
    assert_says(text, f"{tmp_path / 'review'}: there is no", str(tmp_path / "reviews"))


def test_a_text_given_as_a_path() -> None:
    text = message(DataError, "a long text " * 400)
    assert_says(text, "the path cannot be looked up", "pass texts as a list")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "the path is empty"),
        (" ", "the path is empty"),
        ("a\0b", "the path holds a character that no path can hold"),
        (Path("a\0b"), "the path holds a character that no path can hold"),
        ("a\ud800", "the path holds a character that no path can hold"),
        ("~no-such-user/data", "the home folder of this user is not known"),
        (BytesPath(), "a path is text, not bytes"),
    ],
)
def test_paths_that_cannot_be_looked_up(path: str | Path, words: str) -> None:
    assert_says(message(DataError, path), f"argument data: {words}")
    assert_says(message(DataError, {"train": path}), f"argument data['train']: {words}")


def test_folder_without_train_lists_the_splits(tmp_path: Path) -> None:
    write(tmp_path, {"test.csv": GOOD_CSV, "dev.csv": GOOD_CSV})
    text = message(DataNotFoundError, tmp_path)
    assert_says(text, "no train split", "the splits validation, test", "add train")


def test_misspelt_split_file(tmp_path: Path) -> None:
    write(tmp_path, {"trian.csv": GOOD_CSV, "validation.csv": GOOD_CSV})
    assert_says(message(DataNotFoundError, tmp_path), "'trian.csv'", "did you mean 'train.csv'")


def test_misspelt_split_folder(tmp_path: Path) -> None:
    write(tmp_path, {"train/0.txt": "a\n", "vaildation/0.txt": "a\n"})
    assert_says(message(DataNotFoundError, tmp_path), "'vaildation'", "'validation'")


def test_misspelt_key(tmp_path: Path) -> None:
    data = {"train": [("a", 0)], "vaild": [("a", 0)]}
    assert_says(message(DataNotFoundError, data), "'vaild'", "did you mean 'valid'")


def test_two_keys_for_one_split() -> None:
    data = {"train": [("a", 0)], "val": [("a", 0)], "dev": [("a", 0)]}
    assert_says(message(DataError, data), "two keys name the validation split", "'dev'")


def test_folder_without_data(tmp_path: Path) -> None:
    write(tmp_path, {"README.md": "# nothing\n"})
    assert_says(message(DataNotFoundError, tmp_path), "no data file", ".parquet")


@pytest.mark.parametrize(
    ("files", "found", "fix"),
    [
        ({"train.xlsx": b"x"}, "train.xlsx", "save the sheet or document as .csv"),
        ({"a.docx": b"x", "b.docx": b"x"}, "a.docx + b.docx", "as .csv"),
        ({"train.pkl": b"x"}, "train.pkl", "pass the folder or file that holds it"),
        ({"data/train.csv": GOOD_CSV}, "data", "/data', which holds tables"),
    ],
)
def test_folder_of_other_files(
    tmp_path: Path, files: Mapping[str, str | bytes], found: str, fix: str
) -> None:
    text = message(DataNotFoundError, write(tmp_path, files))
    assert_says(text, "no data file", f"found:    {found}\n", fix)


@pytest.mark.parametrize(
    ("content", "what", "fix"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid x\n",
            "a Git LFS pointer",
            "git lfs pull",
        ),
        (b"\n <!DOCTYPE html>\n<html>", "a web page", "download the file itself"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0", "an Office file", "save it as .csv"),
    ],
)
@pytest.mark.parametrize("name", ["train.csv", "train.jsonl", "train.parquet", "train/0.txt"])
def test_files_that_only_bear_the_name(
    tmp_path: Path, name: str, content: bytes, what: str, fix: str
) -> None:
    text = message(DataError, write(tmp_path, {name: content}))
    assert_says(text, f"{tmp_path / name}: the file is {what}, not the data", fix)


def test_files_without_split_names(tmp_path: Path) -> None:
    write(tmp_path, {"a.csv": GOOD_CSV, "b.csv": GOOD_CSV})
    text = message(DataNotFoundError, tmp_path)
    assert_says(text, "none of the files carries the name of a split", "a.csv, b.csv", "rename")


def test_text_files_named_by_split_are_no_labels(tmp_path: Path) -> None:
    write(tmp_path, {"emotion_train_text.txt": "a\n", "emotion_train_labels.txt": "0\n"})
    text = message(DataNotFoundError, tmp_path)
    assert_says(text, "speak of splits, not of labels", 'layout="label-files"')


def test_text_file_alone(tmp_path: Path) -> None:
    write(tmp_path, {"train.txt": "a\n"})
    assert_says(message(DataError, tmp_path / "train.txt"), "says nothing about labels", "<label>")
    assert_says(message(DataError, tmp_path), "says nothing about labels")


def test_unknown_type_of_file(tmp_path: Path) -> None:
    write(tmp_path, {"train.xlsx": b"x"})
    assert_says(message(DataError, tmp_path / "train.xlsx"), "'.xlsx'", ".csv", ".parquet")


def test_folder_of_splits_given_as_one_split(tmp_path: Path) -> None:
    write(tmp_path, {"train.csv": GOOD_CSV, "dev.csv": GOOD_CSV})
    text = message(DataError, {"train": tmp_path})
    assert_says(text, "holds several", "dev.csv", "train.csv")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_unreadable_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", {"train.csv": GOOD_CSV})
    folder.chmod(0)
    try:
        assert_says(message(DataError, folder), "cannot be read", "Permission denied")
    finally:
        folder.chmod(0o700)


def test_unreadable_folder_by_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    text = message(DataError, tmp_path)
    assert_says(text, f"{tmp_path}/: the folder cannot be read", "Permission denied", "you may")


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    write(tmp_path, {"train.csv": GOOD_CSV})
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert_says(message(DataError, tmp_path), "train.csv: the file cannot be read", "Permission")


# Nothing to read


@pytest.mark.parametrize("name", ["train.csv", "train.tsv", "train.jsonl", "train/0.txt"])
@pytest.mark.parametrize(
    ("content", "words"), [("", "is empty"), ("\n \n\n", "holds only blank lines")]
)
def test_empty_and_blank_files(tmp_path: Path, name: str, content: str, words: str) -> None:
    write(tmp_path, {name: content})
    text = message(DataError, tmp_path)
    assert_says(text, f"{tmp_path / name}: the file {words}", "fill the file")


def test_blank_example_file(tmp_path: Path) -> None:
    write(tmp_path, {"train/pos/1.txt": "good", "train/neg/7.txt": "\n"})
    assert_says(message(DataError, tmp_path), "neg/7.txt", "holds only blank lines")


@pytest.mark.parametrize(
    ("name", "words"),
    [("caf\udce9", "is not UTF-8"), (" ", "is blank"), ("\u2003", "is blank")],
)
@pytest.mark.parametrize("as_folder", [False, True])
def test_names_that_cannot_be_labels(
    tmp_path: Path, name: str, words: str, as_folder: bool
) -> None:
    for label in ("b", name):  # half a surrogate pair stands for a byte that is not UTF-8
        write(tmp_path, {f"train/{label}/1.txt" if as_folder else f"train/{label}.txt": "good\n"})
    text = message(DataError, tmp_path)
    assert_says(text, f"the name of a label {words}", "rename it")
    text.encode()


def test_empty_split_folder(tmp_path: Path) -> None:
    write(tmp_path, {"train/0.txt": "a\n"})
    (tmp_path / "validation").mkdir()
    assert_says(message(DataNotFoundError, tmp_path), "split validation", "no data file")


@pytest.mark.parametrize("name", ["train.csv", "train.tsv"])
def test_header_only(tmp_path: Path, name: str) -> None:
    write(tmp_path, {name: "text\n"})
    assert_says(message(DataError, tmp_path), name, "a header and no rows", "['text']")


def test_parquet_without_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "train.parquet")
    assert_says(message(DataError, tmp_path), "train.parquet", "no rows")


@pytest.mark.parametrize("data", [[], (), {"text": [], "label": []}, pd.DataFrame({"text": []})])
def test_empty_objects(data: object) -> None:
    assert_says(message(DataError, data), "given as data", "no rows")


# Two readings


def test_table_beside_folder(tmp_path: Path) -> None:
    write(tmp_path, {"train.csv": GOOD_CSV, "train/0.txt": "a\n"})
    text = message(DataError, tmp_path)
    assert_says(text, "split train", "2 ways", 'layout="table" to read train.csv')
    assert_says(text, 'layout="label-files" to read')


def test_two_tables_of_one_split(tmp_path: Path) -> None:
    write(tmp_path, {"train.csv": GOOD_CSV, "train.jsonl": '{"text": "a"}\n'})
    text = message(DataError, tmp_path)
    assert_says(text, "train.csv", "train.jsonl", "remove or rename", 'data={"train": ')


def test_two_names_of_one_split(tmp_path: Path) -> None:
    write(tmp_path, {"train.csv": GOOD_CSV, "val.csv": GOOD_CSV, "validation.csv": GOOD_CSV})
    assert_says(message(DataError, tmp_path), "split validation", "val.csv", "validation.csv")


def test_text_files_beside_folders(tmp_path: Path) -> None:
    write(tmp_path, {"train/0.txt": "a\n", "train/pos/1.txt": "b\n"})
    text = message(DataError, tmp_path)
    assert_says(text, "2 ways", 'layout="label-files" to read', 'layout="label-folders" to read')
    assert_says(text, "a file per label, one example per line")


def test_many_files_of_one_line(tmp_path: Path) -> None:
    write(tmp_path, {f"train/{number}.txt": "a line\n" for number in range(21)})
    text = message(DataError, tmp_path)
    assert_says(text, "21 files of one line each", 'layout="label-files"', 'layout="label-folders"')
    options = ReadOptions(layout="label-files")
    assert open_source(tmp_path, options).splits["train"].table.num_rows == 21


def test_layout_that_does_not_fit(tmp_path: Path) -> None:
    write(tmp_path, {"train.csv": GOOD_CSV})
    text = message(DataError, tmp_path, ReadOptions(layout="label-files"))
    assert_says(text, 'layout="label-files" does not fit', "train.csv", 'pass layout="table"')


def test_unknown_layout(tmp_path: Path) -> None:
    text = message(ConfigurationError, tmp_path, ReadOptions(layout="label-file"))
    assert_says(text, "'label-file'", 'did you mean layout="label-files"')


def test_splits_of_different_layouts(tmp_path: Path) -> None:
    write(tmp_path, {"train/0.txt": "a\n", "test.csv": GOOD_CSV})
    assert_says(message(DataError, tmp_path), "laid out in different ways", "test.csv", 'data={"')


def test_labels_that_train_lacks(tmp_path: Path) -> None:
    write(tmp_path, {"train/0.txt": "a\n", "validation/0.txt": "a\n", "validation/2.txt": "b\n"})
    text = message(LabelError, tmp_path)
    assert_says(text, "validation has labels that train lacks", "validation/2.txt", "found:    2")
    assert_says(text, "the labels of train: 0")


# Bytes


@pytest.mark.parametrize(
    ("name", "content", "line", "byte"),
    [
        ("train/0.txt", b"good\nna\xefve\n", 2, 3),
        ("train.csv", b"text,label\ncaf\xe9,1\n", 2, 4),
        ("train.csv", b"t\xe9xt,label\ncafe,1\n", 1, 2),
        ("train.tsv", b"text\tlabel\na\t1\n\xff\t0\n", 3, 1),
        ("train.jsonl", b'{"text": "a"}\n{"text": "\xe9"}\n', 2, 11),
        ("train/pos/1.txt", b"one\ntwo\xc3", 2, 4),
    ],
)
def test_invalid_utf8(tmp_path: Path, name: str, content: bytes, line: int, byte: int) -> None:
    write(tmp_path, {name: content})
    text = message(DataError, tmp_path)
    assert_says(text, f"{tmp_path / name}, line {line}: byte {byte} of the line is not UTF-8")
    assert re.search(r"found: +0x[0-9a-f]{2}", text)
    assert_says(text, 'encoding="cp1252"')


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["train.csv", "train/0.txt"])
def test_wide_encodings_by_their_mark(tmp_path: Path, name: str, encoding: str) -> None:
    write(tmp_path, {name: GOOD_CSV.encode(encoding)})
    text = message(DataError, tmp_path)
    assert_says(text, name, f"is {encoding.upper()}, not UTF-8", f'encoding="{encoding}"')


def test_utf16_without_mark(tmp_path: Path) -> None:
    write(tmp_path, {"train.csv": GOOD_CSV.encode("utf-16-le")})
    assert_says(message(DataError, tmp_path), "full of NUL bytes", 'encoding="utf-16-le"')


@pytest.mark.parametrize("name", ["train.csv", "train.jsonl", "train/0.txt"])
def test_nul_byte(tmp_path: Path, name: str) -> None:
    write(tmp_path, {name: b"text,label\na\x00b,1\n"})
    assert_says(message(DataError, tmp_path), f"{name}, line 2: byte 2 of the line is NUL (0x00)")


def test_wrong_encoding(tmp_path: Path) -> None:
    write(tmp_path, {"train.csv": "text,label\nå,1\n".encode()})
    text = message(DataError, tmp_path, ReadOptions(encoding="ascii"))
    assert_says(text, "train.csv, line 2", "byte 12 of the file is not ascii", "0xc3")


def test_unknown_encoding(tmp_path: Path) -> None:
    write(tmp_path, {"train.csv": GOOD_CSV})
    text = message(ConfigurationError, tmp_path, ReadOptions(encoding="utf-99"))
    assert_says(text, "argument encoding", "'utf-99'", "cp1252")


@pytest.mark.parametrize(
    "encoding", ["nonsense", "", "base64", "zlib", "undefined", "a\0b", "utf\ud800", "x" * 5000]
)
def test_encodings_that_are_none_of_text(encoding: str) -> None:
    text = message(ConfigurationError, [("a", 1)], ReadOptions(encoding=encoding))
    assert_says(text, "argument encoding: there is no such encoding", "leave encoding away")
    assert len(text) < 500


@pytest.mark.parametrize("encoding", [None, "utf-8", "UTF8", "utf-8-sig"])
def test_utf8_is_the_default(tmp_path: Path, encoding: str | None) -> None:
    write(tmp_path, {"train.csv": "text,label\nå,1\n"})
    table = open_source(tmp_path, ReadOptions(encoding=encoding)).splits["train"].table
    assert table.column("text").to_pylist() == ["å"]


@pytest.mark.parametrize("name", ["train.csv.gz", "train.zip", "train.jsonl.xz", "train.csv.bz2"])
def test_compressed_by_name(tmp_path: Path, name: str) -> None:
    write(tmp_path, {name: b"any"})
    for data in (tmp_path, tmp_path / name):
        assert_says(message(DataError, data), name, "is compressed", "unpack it")


def test_compressed_files_of_a_split(tmp_path: Path) -> None:
    write(tmp_path, {"train/0.txt": "a\n", "train/1.txt.gz": b"any"})
    assert_says(message(DataError, tmp_path, ReadOptions()), "1.txt.gz", "is compressed")
    write(tmp_path / "b", {"pos/0.txt.gz": b"any"})
    assert_says(message(DataError, tmp_path / "b"), "0.txt.gz", "is compressed")


def test_compressed_by_content(tmp_path: Path) -> None:
    write(tmp_path, {"train.csv": gzip.compress(GOOD_CSV.encode())})
    assert_says(message(DataError, tmp_path), "train.csv: the file is compressed", "unpack it")


# Rows of csv and tsv


def test_ragged_csv(tmp_path: Path) -> None:
    write(tmp_path, {"train.csv": 'text,label\n"a\nb",1\n\nyes, it is,1\n'})
    text = message(DataError, tmp_path)
    assert_says(text, "train.csv, line 5: the row has 3 fields, the header 2", "'yes, it is,1'")
    assert_says(text, "['text', 'label']", "quote the fields that hold commas")


def test_ragged_tsv(tmp_path: Path) -> None:
    write(tmp_path, {"train.tsv": "text\tlabel\na\t1\nb\n"})
    text = message(DataError, tmp_path)
    assert_says(text, "train.tsv, line 3: the row has 1 field, the header 2", "found:    'b'")


def test_quote_that_is_never_closed(tmp_path: Path) -> None:
    write(tmp_path, {"train.csv": 'text,label\na,1\n"b,0\nc,1\n'})
    text = message(DataError, tmp_path)
    assert_says(text, "train.csv, line 3", "no closing quote", "double the quotes")


def test_quote_that_is_closed_too_early(tmp_path: Path) -> None:
    write(tmp_path, {"train.csv": 'text,label\na,1\n"yes" she said,0\n'})
    assert_says(message(DataError, tmp_path), "train.csv, line 3", "text after it")


def test_file_without_header(tmp_path: Path) -> None:
    write(tmp_path, {"train.tsv": "good one\t1\nbad one\t0\nfine one\t1\n"})
    text = message(DataError, tmp_path)
    assert_says(
        text, "train.tsv, line 1", "looks like a row", "'1' is also a value below, in 1 row"
    )
    assert_says(text, "2 names on top")


@pytest.mark.parametrize(
    ("name", "separator", "fix"),
    [
        ("train.csv", ";", "pandas.read_csv(path, sep=';', dtype=str)"),
        ("train.csv", "|", "sep='|'"),
        ("train.csv", "\t", "rename the file to 'train.tsv'"),
        ("train.tsv", ",", "rename the file to 'train.csv'"),
    ],
)
@pytest.mark.parametrize("text", ["good", "good, or not", '"good"'])
def test_another_separator(tmp_path: Path, name: str, separator: str, fix: str, text: str) -> None:
    write(tmp_path, {name: f"text{separator}label\n{text}{separator}1\n"})
    found = message(DataError, tmp_path)
    assert_says(found, f"{name}, line 1", f"separated by {separator!r}, not by", fix)


@pytest.mark.parametrize("content", ["text\na; b\n", "text;label\na\n", "1;2\n3;4\n"])
def test_one_column_may_hold_separators(tmp_path: Path, content: str) -> None:
    write(tmp_path, {"train.csv": content})
    assert open_source(tmp_path).splits["train"].table.num_columns == 1


def test_columns_without_a_name(tmp_path: Path) -> None:
    write(tmp_path, {"train.csv": ",,text\n1,2,a\n"})
    assert_says(message(ColumnError, tmp_path), "train.csv, line 1: 2 columns have no name")


def test_lines_that_end_with_carriage_returns(tmp_path: Path) -> None:
    write(tmp_path, {"train.csv": b"text,label\ra,1\rb,0\r"})
    assert_says(message(DataError, tmp_path), "a carriage return alone", "save the file")


@pytest.mark.parametrize(("name", "sep"), [("train.csv", ","), ("train.tsv", "\t")])
def test_duplicate_column_names(tmp_path: Path, name: str, sep: str) -> None:
    write(tmp_path, {name: f"text{sep}label{sep}text\na{sep}1{sep}b\n"})
    text = message(ColumnError, tmp_path)
    assert_says(text, f"{name}, line 1", "'text' stands 2 times", "['text', 'label', 'text']")


def test_duplicate_column_names_in_tables(tmp_path: Path) -> None:
    table = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(table, tmp_path / "train.parquet")
    assert_says(message(ColumnError, tmp_path), "train.parquet", "'text' stands 2 times")
    assert_says(message(ColumnError, table), "Table given as data", "'text' stands 2 times")
    frame = pd.DataFrame([["a", "b"]], columns=["text", "text"])
    assert_says(message(ColumnError, frame), "DataFrame given as data", "'text' stands 2 times")


def test_shards_with_different_columns(tmp_path: Path) -> None:
    write(tmp_path, {"train-0-of-2.csv": "text,label\na,1\n", "train-1-of-2.csv": "text\na\n"})
    text = message(ColumnError, tmp_path)
    assert_says(text, "train-1-of-2.csv", "columns differ", "text, label, as in")


# JSON


def test_broken_json_line(tmp_path: Path) -> None:
    write(tmp_path, {"train.jsonl": '{"text": "a"}\n\n{"text": "b",}\n'})
    text = message(DataError, tmp_path)
    assert_says(text, "train.jsonl, line 3: broken JSON at column", '{"text": "b",}', "repair")


@pytest.mark.parametrize(
    ("line", "kind"), [("[1]", "an array"), ('"b"', "a string"), ("3", "a number")]
)
def test_json_line_that_is_no_object(tmp_path: Path, line: str, kind: str) -> None:
    write(tmp_path, {"train.jsonl": '{"text": "a"}\n' + line + "\n"})
    assert_says(message(DataError, tmp_path), "line 2", f"holds {kind}, not an object")


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ('{"label": 1}', '{"label": "x"}', "'label' is a string here and a number in line 1"),
        ('{"label": true}', '{"label": 1}', "'label' is a number here and a boolean in line 1"),
        ('{"a": {"b": 1}}', '{"a": {"b": "x"}}', "'a.b' is a string here and a number in line 1"),
        ('{"a": [1]}', '{"a": ["x"]}', "'a[]' is a string here and a number in line 1"),
        ('{"a": {}}', '{"a": 1}', "'a' is a number here and an object in line 1"),
    ],
)
def test_json_field_of_mixed_types(tmp_path: Path, first: str, second: str, words: str) -> None:
    write(tmp_path, {"train.jsonl": f"{first}\n{second}\n"})
    assert_says(message(DataError, tmp_path), "train.jsonl, line 2", words, "one type for")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"a": 1, "a": 2}', "the field 'a' stands twice"),
        ('{"a": "\\ud800"}', "half of a surrogate pair"),
    ],
)
def test_json_that_python_would_take(tmp_path: Path, line: str, words: str) -> None:
    write(tmp_path, {"train.jsonl": line + "\n"})
    assert_says(message(DataError, tmp_path), "train.jsonl, line 1", words)


def test_json_array_with_faults(tmp_path: Path) -> None:
    write(tmp_path, {"train.json": '[{"a": 1},\n {"a": 2},\n 3]'})
    assert_says(message(DataError, tmp_path), "train.json, line 3", "a number, not an object")
    write(tmp_path, {"train.json": '[{"a": 1},\n {"a": 2}'})
    assert_says(message(DataError, tmp_path), "train.json, line 2", "broken JSON")
    write(tmp_path, {"train.json": "[]"})
    assert_says(message(DataError, tmp_path), "train.json", "no objects with fields")


def test_json_file_that_is_one_object(tmp_path: Path) -> None:
    write(tmp_path, {"train.json": '{"val": [["a", "b"]],\n "train": []}'})
    text = message(DataError, tmp_path)
    assert_says(text, "one JSON object, not rows", "['val', 'train']", "json.load(file)")


def test_json_objects_without_fields(tmp_path: Path) -> None:
    write(tmp_path, {"train.jsonl": "{}\n{}\n"})
    assert_says(message(DataError, tmp_path), "no objects with fields")


def test_broken_parquet(tmp_path: Path) -> None:
    write(tmp_path, {"train.parquet": b"PAR1 and then nothing"})
    assert_says(message(DataError, tmp_path), "train.parquet: the file cannot be read")


def test_parquet_with_invalid_utf8(tmp_path: Path) -> None:
    texts = pa.array([b"good", b"caf\xe9"]).view(pa.string())
    pq.write_table(pa.table({"text": texts}), tmp_path / "train.parquet")
    text = message(DataError, tmp_path)
    assert_says(text, "train.parquet, row 1: the text in column 'text' is not UTF-8", "caf\\xe9")


# Python objects


def test_triples_name_the_way_for_pairs() -> None:
    text = message(DataError, [("a", "b", 0), ("c", "d", 1)])
    assert_says(text, "row 0 of the list given as data", "('a', 'b', 0)", 'pair="other"')


@pytest.mark.parametrize("item", ["text", ("a",), 3, {"text": "a"}, None])
def test_list_of_mixed_items(item: object) -> None:
    text = message(DataError, [("a", 0), ("b", 1), item])
    assert_says(text, "row 2 of the list given as data", "not a pair", repr(item))


def test_list_of_dicts_with_another_item() -> None:
    assert_says(message(DataError, [{"text": "a"}, ("b", 1)]), "row 1", "not a dict", "('b', 1)")


def test_pair_whose_text_is_no_string() -> None:
    assert_says(message(DataError, [("a", 0), (1, "b")]), "row 1", "the text is not a string")


@pytest.mark.parametrize(
    "labels", [[0, 1, "x"], [0, 1, True], ["a", "b", 1.5], [{"a": 1}, None, "x"]]
)
def test_column_of_mixed_types(labels: list[object]) -> None:
    for data in (
        [("t", label) for label in labels],
        [{"label": label} for label in labels],
        {"text": ["t"] * 3, "label": labels},
        {"label": pd.Series(labels, dtype=object)},
        pd.DataFrame({"label": pd.Series(labels, dtype=object)}),
    ):
        text = message(ColumnError, data)
        assert_says(text, "row 2 of the ", "'label' mixes types", f"found:    {labels[2]!r}")


def test_columns_of_unequal_length() -> None:
    text = message(ColumnError, {"text": ["a", "b"], "label": [0]})
    assert_says(text, "the columns differ in length", "'text': 2 rows", "'label': 1 rows")


def test_column_that_is_no_list() -> None:
    text = message(ColumnError, {"text": "a sentence", "label": [0]})
    assert_says(text, "'text' is not a list", "'a sentence'")


def test_column_that_arrow_cannot_hold() -> None:
    assert_says(message(ColumnError, {"text": np.zeros((2, 2))}), "column 'text' cannot become")


@pytest.mark.parametrize("data", [3, object(), b"bytes", {"a", "b"}, None])
def test_object_of_no_kind_lists_the_kinds(data: object) -> None:
    text = message(DataError, data)
    assert_says(
        text,
        f"type {type(data).__name__} cannot be read",
        "a path to a folder",
        "(text, label) pairs",
    )


def test_stream_of_rows() -> None:
    text = message(DataError, (pair for pair in [("a", 0)]))
    assert_says(text, "type generator", "list(data)")


def test_one_column_is_no_table() -> None:
    assert_says(message(DataError, pd.Series(["a"])), "not a table", "DataFrame")


# Anything at all


NASTY = [b'"', b",", b"\t", b"\n", b"\r", b"\0", b"\xff", b"\xef\xbb\xbf", b"{", b"}", b"[", b"]"]
NASTY += [b":", b'"a"', b"1", b"a", b" ", b'{"a": 1}\n', b'{"a": "x"}\n', b"a,b\n", b"\\ud800"]


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["train.csv", "train.tsv", "train.jsonl", "train.json", "train/0.txt"]),
    content=st.lists(st.sampled_from(NASTY), max_size=12).map(b"".join),
    quoting=st.booleans(),
)
def test_any_bytes_give_rows_with_places_or_an_error(
    tmp_path: Path, name: str, content: bytes, quoting: bool
) -> None:
    root = tmp_path / Path(name).suffix
    write(root, {name: content})
    try:
        split = open_source({"train": root / Path(name).parts[0]}, ReadOptions(quoting=quoting))
    except Error as error:
        assert str(root) in str(error)
        return
    train = split.splits["train"]
    train.table.validate(full=True)
    assert train.table.num_rows > 0
    assert all(str(root) in train.place(row) for row in range(train.table.num_rows))
