"""Files to tables: types are ours, lines end at line feeds, rows know their lines."""

from __future__ import annotations

import csv
import json
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastft.data.delimited_files import delimited_records
from fastft.data.readers import FileRead, ReadOptions, read_examples, read_lines, read_table
from fastft.data.split_files import DataFile


def read(path: Path, content: str | bytes, **options: object) -> FileRead:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path, ReadOptions(**options))  # type: ignore[arg-type]


def rows(path: Path, content: str | bytes, **options: object) -> dict[str, list[object]]:
    return dict(read(path, content, **options).table.to_pydict())


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    return tmp_path / "train.csv"


@pytest.fixture
def tsv_file(tmp_path: Path) -> Path:
    return tmp_path / "train.tsv"


@pytest.fixture
def jsonl_file(tmp_path: Path) -> Path:
    return tmp_path / "train.jsonl"


# csv and tsv


def test_csv_columns_are_text(csv_file: Path) -> None:
    content = "text,label,date\nNA,1,2020-01-01\nnull,,\nnan,1.0,true\n"
    assert rows(csv_file, content) == {
        "text": ["NA", "null", "nan"],
        "label": ["1", "", "1.0"],
        "date": ["2020-01-01", "", "true"],
    }


def test_csv_quotes(csv_file: Path) -> None:
    content = 'text,label\n"a, ""b""\nc",1\nfive" wide,"0"\n"",""\n'
    expected = {"text": ['a, "b"\nc', 'five" wide', ""], "label": ["1", "0", ""]}
    assert rows(csv_file, content) == expected


def test_tsv_has_no_quotes_unless_asked(tsv_file: Path) -> None:
    content = 'text\tlabel\n"a\t1\n"b"\t0\n'
    assert rows(tsv_file, content) == {"text": ['"a', '"b"'], "label": ["1", "0"]}
    quoted = 'text\tlabel\n"a\tb"\t1\n'
    assert rows(tsv_file, quoted, quoting=True) == {"text": ["a\tb"], "label": ["1"]}


@pytest.mark.parametrize("separator", ["\r", "\u2028", "\u0085", "\x0b", "\x0c", "\x1e"])
@pytest.mark.parametrize("name", ["train.csv", "train.tsv"])
def test_lines_end_at_line_feeds_only(tmp_path: Path, name: str, separator: str) -> None:
    mark = "," if name.endswith("csv") else "\t"
    content = f"te{separator}xt{mark}label\na{separator}b{mark}1\r\nc{mark}0\r\n"
    expected = {f"te{separator}xt": [f"a{separator}b", "c"], "label": ["1", "0"]}
    assert rows(tmp_path / name, content) == expected


def test_carriage_returns_survive_where_their_stand_in_is_taken(csv_file: Path) -> None:
    assert rows(csv_file, "text\na\rb\ufdd0\n") == {"text": ["a\rb\ufdd0"]}


def test_csv_with_a_mark_and_without_a_last_line_end(csv_file: Path) -> None:
    read_file = read(csv_file, "\ufefftext,label\na,1")
    assert read_file.table.to_pydict() == {"text": ["a"], "label": ["1"]}
    assert read_file.marked == (csv_file,)


def test_carriage_return_at_the_end_belongs_to_the_line_end(csv_file: Path, tmp_path: Path) -> None:
    assert rows(csv_file, "text\na\rb\nc\r") == {"text": ["a\rb", "c"]}
    path = tmp_path / "0.txt"
    path.write_bytes(b"a\rb\nc\r")
    assert read_lines(DataFile(path, "0")).table.column("text").to_pylist() == ["a\rb", "c"]


def test_numbers_as_names_are_no_values(csv_file: Path) -> None:
    assert rows(csv_file, ",0,1\n0,good,1\n1,bad,0\n") == {
        "": ["0", "1"],
        "0": ["good", "bad"],
        "1": ["1", "0"],
    }


def test_csv_row_longer_than_a_block(csv_file: Path) -> None:
    long = "x" * (2**24 + 10)
    assert rows(csv_file, f'text\n"{long}"\nb\n') == {"text": [long, "b"]}


def test_csv_places_count_blank_lines_and_lines_in_quotes(csv_file: Path) -> None:
    read_file = read(csv_file, 'text,label\n\n"a\nb",1\n\r\nc,0\n"d",1')
    assert [read_file.rows.place(row) for row in range(3)] == [
        f"{csv_file}, line 3",
        f"{csv_file}, line 6",
        f"{csv_file}, line 7",
    ]


def test_places_of_a_file_that_is_gone(csv_file: Path) -> None:
    read_file = read(csv_file, "text\na\nb\n")
    csv_file.unlink()
    assert read_file.rows.place(1) == f"{csv_file}, row 1"


def test_another_encoding(csv_file: Path, tmp_path: Path) -> None:
    assert rows(csv_file, "text\ncafé\n".encode("cp1252"), encoding="cp1252") == {"text": ["café"]}
    assert rows(csv_file, "text\n你好\n".encode("utf-16"), encoding="utf-16") == {"text": ["你好"]}
    path = tmp_path / "train.jsonl"
    expected = {"text": ["é"]}
    assert rows(path, '{"text": "é"}'.encode("latin-1"), encoding="latin-1") == expected


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
tsv_cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\t\n"))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=st.lists(st.tuples(cells, cells), min_size=1, max_size=8))
def test_csv_gives_back_what_was_written(csv_file: Path, table: list[tuple[str, str]]) -> None:
    def field(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    lines = ["head one,head two", *(",".join(map(field, row)) for row in table)]
    content = "\n".join(lines).encode()
    read_file = read(csv_file, content)
    assert [tuple(row.values()) for row in read_file.table.to_pylist()] == table
    records = list(delimited_records(content, b",", True))
    assert [tuple(cell.decode() for cell in fields) for _, fields in records[1:]] == table
    line_feeds = sum(cell.count("\n") for row in table[:-1] for cell in row)
    last = len(table) - 1
    assert read_file.rows.place(last) == f"{csv_file}, line {last + 2 + line_feeds}"


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=st.lists(st.tuples(tsv_cells, tsv_cells), min_size=1, max_size=8))
def test_tsv_gives_back_what_was_written(tsv_file: Path, table: list[tuple[str, str]]) -> None:
    table = [(first, second.rstrip("\r")) for first, second in table]
    content = "\n".join(["head one\thead two", *("\t".join(row) for row in table)])
    read_file = read(tsv_file, content)
    assert [tuple(row.values()) for row in read_file.table.to_pylist()] == table
    last = len(table) - 1
    assert read_file.rows.place(last) == f"{tsv_file}, line {last + 2}"


# json


def test_jsonl_types(jsonl_file: Path) -> None:
    content = '{"text": "NA", "label": 1}\n\n{"text": null, "label": 2, "score": 0.5}\r\n'
    assert rows(jsonl_file, content) == {
        "text": ["NA", None],
        "label": [1, 2],
        "score": [None, 0.5],
    }


def test_jsonl_dates_stay_strings(jsonl_file: Path) -> None:
    content = (
        '{"day": "2020-01-01", "n": 1, "deep": {"on": ["2020-01-01 10:00:00"]}}\n'
        '{"day": "2021-01-01", "n": 2, "deep": {"on": []}}\n'
    )
    assert rows(jsonl_file, content) == {
        "day": ["2020-01-01", "2021-01-01"],
        "n": [1, 2],
        "deep": [{"on": ["2020-01-01 10:00:00"]}, {"on": []}],
    }


def test_jsonl_nested_columns_stay(jsonl_file: Path) -> None:
    content = '{"messages": [{"role": "user", "content": "hi"}]}\n'
    assert rows(jsonl_file, content) == {"messages": [[{"role": "user", "content": "hi"}]]}


def test_jsonl_numbers_as_text_keep_their_digits(jsonl_file: Path) -> None:
    content = '{"text": 1, "label": 1}\n{"text": 1.50, "label": 0}\n{"label": 0}\n'
    expected = {"text": ["1", "1.50", None], "label": [1, 0, 0]}
    assert rows(jsonl_file, content, text_columns=("text", "pair")) == expected


def test_jsonl_strange_separators_stay(jsonl_file: Path) -> None:
    assert rows(jsonl_file, '{"text": "a\u2028b\u0085c"}\n') == {"text": ["a\u2028b\u0085c"]}


def test_jsonl_row_longer_than_a_block(jsonl_file: Path) -> None:
    long = "x" * (2**24 + 10)
    assert rows(jsonl_file, json.dumps({"text": long})) == {"text": [long]}


def test_jsonl_places(jsonl_file: Path) -> None:
    read_file = read(jsonl_file, '\ufeff\n{"a": 1}\n  \n{"a": 2}\n')
    assert [read_file.rows.place(row) for row in range(2)] == [
        f"{jsonl_file}, line 2",
        f"{jsonl_file}, line 4",
    ]


def test_json_array(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    read_file = read(
        path, '[\n {"text": "a\\nb",\n  "label": 1},\n\n {"text": "]", "label": 2}\n]\n'
    )
    assert read_file.table.to_pydict() == {"text": ["a\nb", "]"], "label": [1, 2]}
    assert read_file.rows.place(0) == f"{path}, line 2"
    assert read_file.rows.place(1) == f"{path}, line 5"


def test_json_lines_in_a_json_file(tmp_path: Path) -> None:
    assert rows(tmp_path / "train.json", '{"a": 1}\n{"a": 2}\n') == {"a": [1, 2]}


# parquet


def test_parquet_dictionaries_become_values(tmp_path: Path) -> None:
    labels = pa.array(["x", "y", "x"]).dictionary_encode()
    path = tmp_path / "label=3" / "train.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"label": labels, "day": pa.array([date(2020, 1, 1)] * 3)}), path)
    read_file = read_table(path)
    assert read_file.table.schema.field("label").type == pa.large_string()
    assert read_file.table.to_pydict() == {
        "label": ["x", "y", "x"],
        "day": [date(2020, 1, 1)] * 3,
    }
    assert read_file.rows.place(2) == f"{path}, row 2"


# text files


def test_lines_of_a_label_file(tmp_path: Path) -> None:
    path = tmp_path / "1.txt"
    path.write_bytes("\ufefffirst\r\n\n \t\n\u2028in\u0085side\x0c\r.\n last ".encode())
    read_file = read_lines(DataFile(path, "1"))
    assert read_file.table.to_pydict() == {
        "text": ["first", "\u2028in\u0085side\x0c\r.", " last "],
        "label": ["1", "1", "1"],
    }
    assert (read_file.blank_lines, read_file.marked) == (2, (path,))
    assert read_file.rows.place(1) == f"{path}, line 4"


def test_examples_of_label_folders(tmp_path: Path) -> None:
    files = [DataFile(tmp_path / "b.txt", "neg"), DataFile(tmp_path / "a.txt", "pos")]
    files[0].path.write_bytes(b"one\r\n\r\ntwo\n\n")
    files[1].path.write_bytes(b"\xef\xbb\xbfthree")
    read_file = read_examples(files)
    assert read_file.table.to_pydict() == {"text": ["one\n\ntwo", "three"], "label": ["neg", "pos"]}
    assert read_file.rows.place(1) == str(tmp_path / "a.txt")
    assert read_file.marked == (tmp_path / "a.txt",)


def test_text_columns_of_all_readers_are_strings(tmp_path: Path, csv_file: Path) -> None:
    path = tmp_path / "0.txt"
    path.write_text("a\n")
    tables = [read(csv_file, "text\na\n").table, read_lines(DataFile(path, "0")).table]
    tables.append(read_examples([DataFile(path, "0")]).table)
    for table in tables:
        assert table.schema.field("text").type in (pa.string(), pa.large_string())


# Real files


@pytest.fixture(scope="module")
def shared() -> Path:
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data")
    return folder


def test_banking77_equals_the_csv_module(shared: Path) -> None:
    path = shared / "classification" / "banking77" / "train.csv"
    with path.open(encoding="utf-8", newline="") as file:
        expected = list(csv.DictReader(file))
    assert len(expected) == 10003
    assert read_table(path).table.to_pylist() == expected


def test_sst2_equals_plain_splitting(shared: Path) -> None:
    path = shared / "classification" / "sst2_glue" / "train.tsv"
    lines = path.read_bytes().decode().removesuffix("\n").split("\n")
    read_file = read_table(path)
    columns = read_file.table.to_pydict()
    found = list(zip(columns["sentence"], columns["label"], strict=True))
    assert found == [tuple(line.split("\t")) for line in lines[1:]]
    assert read_file.rows.place(67348) == f"{path}, line 67350"
