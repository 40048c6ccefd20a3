"""Plain text for language models: what a document is, and that its text stays exact."""

from __future__ import annotations

import json

import pytest

from fastft.data.readers import ReadOptions
from fastft.data.sources import open_source
from fastft.errors import ColumnError, ConfigurationError, DataError, DataNotFoundError, Error

TEXT = "\n  Indented first.\nA line\u2028with a separator \nlast without an end"


def opened(data, documents="auto", **options):
    return open_source(data, ReadOptions(documents=documents, **options))


def texts(source, split="train"):
    return source.splits[split].table.column("text").to_pylist()


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_file_is_a_document_to_the_last_character(tmp_path):
    source = opened(write(tmp_path / "novel.txt", TEXT))
    assert texts(source) == [TEXT]
    assert source.splits["train"].place(0) == str(tmp_path / "novel.txt")


@pytest.mark.parametrize("name", ["wiki.train.raw", "notes.md", "novel"])
def test_a_file_of_any_other_suffix_is_text_too_when_it_is_named(tmp_path, name):
    assert texts(opened(write(tmp_path / name, TEXT))) == [TEXT]


def test_a_file_for_each_split(tmp_path):
    write(tmp_path / "train.txt", "one")
    write(tmp_path / "valid.txt", "two")
    source = opened(tmp_path)
    assert list(source.splits) == ["train", "validation"]
    assert (texts(source), texts(source, "validation")) == (["one"], ["two"])


def test_a_folder_for_each_split_read_to_its_bottom(tmp_path):
    write(tmp_path / "train" / "b.txt", "two")
    write(tmp_path / "train" / "a.txt", "one")
    write(tmp_path / "train" / "more" / "c.txt", "three")
    write(tmp_path / "train" / "picture.png", b"\x89PNG")
    write(tmp_path / "test" / "a.txt", "four")
    source = opened(tmp_path)
    assert texts(source) == ["one", "two", "three"]
    assert texts(source, "test") == ["four"]
    assert source.splits["train"].place(2) == str(tmp_path / "train" / "more" / "c.txt")
    assert any("picture.png" in note for note in source.notes)


def test_numbered_files_are_documents_and_no_labels(tmp_path):
    for name in ("0.txt", "1.txt"):
        write(tmp_path / "train" / name, f"text {name}\nwith a second line")
        write(tmp_path / "validation" / name, f"other {name}")
    source = opened(tmp_path)
    assert source.splits["train"].table.column_names == ["text"]
    assert texts(source) == ["text 0.txt\nwith a second line", "text 1.txt\nwith a second line"]


def test_files_without_the_name_of_a_split_are_trained_on(tmp_path):
    write(tmp_path / "a.txt", "one")
    write(tmp_path / "b.txt", "two")
    assert texts(opened(tmp_path)) == ["one", "two"]


def test_lines_lose_their_ends_and_blank_ones_are_counted(tmp_path):
    path = write(tmp_path / "a.txt", "one\n\n  two \u2028 still two\r\n \nthree")
    source = opened(path, "line")
    assert texts(source) == ["one", "  two \u2028 still two", "three"]
    assert source.splits["train"].place(2) == f"{path}, line 5"
    assert f"2 blank lines skipped ({path}: 2)" in source.notes


def test_paragraphs_keep_their_lines(tmp_path):
    path = write(tmp_path / "a.txt", "\n\none\n  two\n \n\u3000\n\nthree\n\nfour\n")
    source = opened(path, "paragraph")
    assert texts(source) == ["one\n  two", "three", "four"]
    assert source.splits["train"].place(1) == f"{path}, line 8"


def test_a_byte_order_mark_is_dropped_and_windows_line_ends_are_kept_and_both_are_said(tmp_path):
    path = write(tmp_path / "a.txt", b"\xef\xbb\xbfone\r\ntwo\r\n")
    source = opened(path)
    assert texts(source) == ["one\r\ntwo\r\n"]
    assert f"BOM dropped from {path}" in source.notes
    assert f"line ends of Windows (\\r\\n) are kept in {path}" in source.notes


def test_a_list_of_strings_holds_a_document_each():
    source = opened(["one", "two"])
    assert texts(source) == ["one", "two"]
    assert source.splits["train"].place(1) == "row 1 of the list given as data"


def test_splits_may_be_lists_and_files(tmp_path):
    path = write(tmp_path / "a.txt", "three")
    source = opened({"train": ["one", "two"], "validation": str(path)})
    assert (texts(source), texts(source, "validation")) == (["one", "two"], ["three"])


def test_a_table_is_read_as_for_every_task(tmp_path):
    path = write(tmp_path / "a.jsonl", json.dumps({"text": "one", "label": 1}) + "\n")
    source = opened(path)
    assert source.splits["train"].table.column_names == ["text", "label"]
    assert not source.columns_are_fixed


def test_without_documents_text_files_hold_examples_of_their_label(tmp_path):
    write(tmp_path / "train" / "0.txt", "a\nb\n")
    write(tmp_path / "train" / "1.txt", "c\n")
    assert open_source(tmp_path).splits["train"].table.column("label").to_pylist() == [
        "0",
        "0",
        "1",
    ]


def test_text_files_beside_tables_are_two_readings(tmp_path):
    write(tmp_path / "train.txt", "one")
    write(tmp_path / "validation.csv", "text\ntwo\n")
    with pytest.raises(DataError, match="2 ways") as error:
        opened(tmp_path)
    assert "validation.csv" in error.value.found


def test_a_layout_that_is_named_wins_over_documents(tmp_path):
    write(tmp_path / "train" / "train.csv", "text\none\n")
    write(tmp_path / "train" / "about.txt", "not data")
    assert texts(opened(tmp_path, layout="table")) == ["one"]


@pytest.mark.parametrize("documents", ["auto", "line", "paragraph"])
def test_a_byte_that_is_no_utf8_is_named_by_line(tmp_path, documents):
    path = write(tmp_path / "a.txt", b"one\ntwo \xff\n")
    with pytest.raises(DataError) as error:
        opened(path, documents)
    assert error.value.place == f"{path}, line 2"
    assert error.value.problem.startswith("byte 5 of the line is not UTF-8")


@pytest.mark.parametrize("documents", ["auto", "line", "paragraph"])
@pytest.mark.parametrize("content", ["", " \n\n \n"])
def test_a_file_without_text_is_refused(tmp_path, documents, content):
    path = write(tmp_path / "a.txt", content)
    with pytest.raises(DataError) as error:
        opened(path, documents)
    assert error.value.place == str(path)


def test_a_split_that_holds_splits_is_refused(tmp_path):
    write(tmp_path / "corpus" / "train.txt", "one")
    write(tmp_path / "corpus" / "validation.txt", "two")
    with pytest.raises(DataError, match="holds several"):
        opened({"train": str(tmp_path / "corpus")})
    with pytest.raises(DataError, match="holds several"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("data", "documents", "kind", "words"),
    [
        (["a"], "lines", ConfigurationError, "documents='line'"),
        (["a"], 3, ConfigurationError, "'paragraph'"),
        (["a", None, 3], "auto", ColumnError, "row 2 of the list"),
        ("nowhere/a.txt", "auto", DataNotFoundError, "no such file"),
    ],
)
def test_what_cannot_be_read_is_named(data, documents, kind, words):
    with pytest.raises(kind, match=words) as error:
        opened(data, documents)
    assert isinstance(error.value, Error)


def test_a_packed_text_is_refused(tmp_path):
    write(tmp_path / "train" / "a.txt.gz", b"\x1f\x8b...")
    write(tmp_path / "train" / "b.txt", "text")
    with pytest.raises(DataError, match="compressed"):
        opened(tmp_path)
