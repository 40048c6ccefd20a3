"""Parallel files: every way to lay them out, and what is wrong with files that do not match."""

from __future__ import annotations

import gzip

import pytest

from fastft.data.readers import ReadOptions
from fastft.data.sources import open_source
from fastft.errors import DataError, DataNotFoundError

DE_EN = ReadOptions(parallel=("de", "en"))
GERMAN, ENGLISH = "Hund\nKatze\u2028Maus\nTag\n", "dog\ncat mouse\nday\n"


def write(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    return folder


def rows(source, split="train"):
    return source.splits[split].table.to_pydict()


EXPECTED = {"de": ["Hund", "Katze\u2028Maus", "Tag"], "en": ["dog", "cat mouse", "day"]}


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("train_de", "train_en"),
        ("train_de_txt", "train_en_txt"),
        ("train__de_txt", "train__en_txt"),
        ("train__de", "train__en"),
        ("train_de-en_de", "train_de-en_en"),
        ("corpus_de", "corpus_en"),
        ("de_txt", "en_txt"),
    ],
)
def test_every_way_to_name_the_files_gives_the_same_rows(source, target, tmp_path):
    write(tmp_path, **{source: GERMAN, target: ENGLISH})
    assert rows(open_source(tmp_path, DE_EN)) == EXPECTED


def test_splits_places_and_what_is_left_out(tmp_path):
    write(tmp_path, train_de=GERMAN, train_en=ENGLISH, dev_de="Nacht\n", dev_en="night\n",
          notes_md="x", extra_de="x\n")  # fmt: skip
    source = open_source(tmp_path, DE_EN)
    assert rows(source, "validation") == {"de": ["Nacht"], "en": ["night"]}
    train = source.splits["train"]
    where = f"{tmp_path / 'train.de'} and {tmp_path / 'train.en'}, line 2, column 'en'"
    assert train.place(1, "en") == where
    (note,) = source.notes
    assert "2 stray files" in note and "extra.de" in note and "notes.md" in note


def test_a_dict_names_the_files_of_a_split_or_of_train(tmp_path):
    write(tmp_path, a=GERMAN, b=ENGLISH)
    pair = {"de": str(tmp_path / "a"), "en": tmp_path / "b"}
    for data in (pair, {"train": pair}, {"train": pair, "dev": [("x", "y")]}):
        assert rows(open_source(data, DE_EN)) == EXPECTED
    columns = {"de": ["Hund"], "en": ["dog"]}
    assert rows(open_source(columns, DE_EN)) == columns


def test_a_folder_may_stand_for_one_split(tmp_path):
    write(tmp_path, x__de_txt=GERMAN, x__en_txt=ENGLISH)
    assert rows(open_source({"train": tmp_path / "x"}, DE_EN)) == EXPECTED


def test_line_ends_of_windows_and_a_byte_order_mark_are_no_text(tmp_path):
    write(tmp_path, train_de="\ufeffHund\r\n", train_en="dog\r\n")
    source = open_source(tmp_path, DE_EN)
    assert rows(source) == {"de": ["Hund"], "en": ["dog"]}
    assert "BOM dropped" in source.notes[0]


def test_blank_lines_keep_the_alignment(tmp_path):
    write(tmp_path, train_de="Hund\n\nTag\n", train_en="dog\ncat\nday")
    assert rows(open_source(tmp_path, DE_EN))["de"] == ["Hund", "", "Tag"]


def test_unequal_files_are_named_with_both_counts(tmp_path):
    write(tmp_path, train_de="Hund\nTag\n", train_en="dog\nday\nnight\n")
    with pytest.raises(DataError, match="2 and 3 lines") as caught:
        open_source(tmp_path, DE_EN)
    assert "train.de" in caught.value.place and "train.en" in caught.value.place
    write(tmp_path, train_en="dog\nday\n \n\n")
    with pytest.raises(DataError, match=r"remove the 2 blank lines at the end of .*train\.en"):
        open_source(tmp_path, DE_EN)


def test_a_missing_file_of_a_pair_is_named(tmp_path):
    write(tmp_path, train_de=GERMAN, train_en=ENGLISH, dev_de="Nacht\n")
    with pytest.raises(DataNotFoundError, match="validation split has no file 'en'"):
        open_source(tmp_path, DE_EN)
    with pytest.raises(DataNotFoundError, match=r"did you mean .*train\.en"):
        open_source({"de": tmp_path / "train.de", "en": tmp_path / "trian.en"}, DE_EN)


def test_two_files_for_one_language_are_refused(tmp_path):
    write(tmp_path, train_de=GERMAN, train_en=ENGLISH, train__de_txt=GERMAN)
    with pytest.raises(DataError, match="has 2 files 'de'"):
        open_source(tmp_path, DE_EN)


def test_a_table_beside_the_files_is_a_second_reading(tmp_path):
    write(tmp_path, train_de=GERMAN, train_en=ENGLISH, train_tsv="de\ten\nA\tB\n")
    with pytest.raises(DataError, match="2 ways"):
        open_source(tmp_path, DE_EN)
    table = open_source(tmp_path, ReadOptions(parallel=("de", "en"), layout="table"))
    assert rows(table) == {"de": ["A"], "en": ["B"]}


def test_names_of_columns_leave_a_folder_of_tables_alone(tmp_path):
    write(tmp_path, train_tsv="de\ten\nA\tB\n", README_en="x")
    assert rows(open_source(tmp_path, DE_EN)) == {"de": ["A"], "en": ["B"]}


def test_a_packed_file_and_bytes_that_are_no_text_are_named(tmp_path):
    write(tmp_path, train_en=ENGLISH)
    (tmp_path / "train.de.gz").write_bytes(gzip.compress(GERMAN.encode()))
    with pytest.raises(DataError, match=r"train\.de\.gz: the file is compressed"):
        open_source(tmp_path, DE_EN)
    (tmp_path / "train.de.gz").unlink()
    (tmp_path / "train.de").write_bytes(b"Hund\nK\xe4tze\nTag\n")
    with pytest.raises(DataError, match=r"train\.de, line 2"):
        open_source(tmp_path, DE_EN)


def test_without_names_the_error_says_how_to_give_them(tmp_path):
    write(tmp_path, train_de=GERMAN, train_en=ENGLISH)
    with pytest.raises(DataNotFoundError, match="source='de', target='en'"):
        open_source(tmp_path)
