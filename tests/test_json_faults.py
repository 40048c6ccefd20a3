"""JSON that crashes pyarrow is refused before pyarrow sees it; JSON that looks like it is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastft.data.json_faults import MAX_NESTING, refuse_deadly
from fastft.data.sources import open_source
from fastft.errors import DataError

PATH = Path("train.jsonl")


def arrays(depth: int) -> str:
    """An object whose brackets are `depth` deep, its own among them."""
    return '{"x": ' + "[" * (depth - 1) + "]" * (depth - 1) + "}"


def message(content: str, lines: list[int] | None = None) -> str:
    with pytest.raises(DataError) as raised:
        refuse_deadly(PATH, content.encode(), lines)
    return str(raised.value)


def test_the_greatest_depth_passes_and_one_more_does_not() -> None:
    refuse_deadly(PATH, arrays(MAX_NESTING).encode())
    assert "nested more than 100 levels" in message(arrays(MAX_NESTING + 1))


def test_the_line_of_a_deep_value_is_named() -> None:
    text = message('{"x": "[[["}\n' + arrays(3) + "\n" + arrays(500) + "\n")
    assert text.startswith("train.jsonl, line 3: ")
    assert message("{}\n" + arrays(500), lines=[7, 9]).startswith("train.jsonl, line 9: ")


def test_a_deep_value_over_many_lines_is_found() -> None:
    assert "line 2" in message('{"x":\n' + "[" * 500 + "\n" + "]" * 500 + "}")


@pytest.mark.parametrize("text", ["[" * 1000, 'a "quoted" [' * 500, "back\\slash [" * 500, '\\"['])
def test_brackets_in_strings_do_not_count(text: str) -> None:
    rows = "".join(json.dumps({"text": text, "label": 1}) + "\n" for _ in range(3))
    refuse_deadly(PATH, rows.encode())


def test_brackets_in_strings_do_not_hide_a_deep_value() -> None:
    row = json.dumps({"text": "}" * 1000 + '"' + "[" * 200})
    assert "line 2" in message(row + "\n" + arrays(500))


@pytest.mark.parametrize("content", ["null", " \n null\n{}", "nullx"])
def test_a_file_that_begins_with_null(content: str) -> None:
    assert "holds null, not an object" in message(content)


def test_a_null_row_is_named_by_its_line() -> None:
    assert message('{"a": 1}\n\n null\n').startswith("train.jsonl, line 3: ")


@pytest.mark.parametrize(
    "content", ['{"a":\nnull}\n{"a": 1}', '{"a": [\n1,\nnull\n]}', '{"a": "}\\nnull"}\n']
)
def test_a_null_inside_a_row_is_a_value(content: str) -> None:
    refuse_deadly(PATH, content.encode())


@pytest.mark.parametrize("depth", [200, 2_000, 100_000])
@pytest.mark.parametrize("name", ["train.json", "train.jsonl"])
@pytest.mark.parametrize("is_array", [False, True])
def test_deep_files_are_refused(tmp_path: Path, name: str, depth: int, is_array: bool) -> None:
    content = f"[{arrays(depth)}]" if is_array else arrays(depth)
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as raised:
        open_source(tmp_path)
    assert str(tmp_path / name) in str(raised.value)


@pytest.mark.parametrize("content", ["null", "[null]", '[{"text": "a"}, null]'])
def test_null_files_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "train.json").write_text(content)
    with pytest.raises(DataError, match=r"train.json, line 1: .* null, not an object"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("value", "fix"),
    [
        ({"train": [{"text": "a"}]}, "data=json.load(file)"),
        ({"text": ["a"], "label": [1]}, "pass its columns: data=json.load(file)"),
        ({"text": {"0": "a"}, "label": {"0": 1}}, "pandas.read_json"),
        ({"version": "1", "data": [{"title": "a"}]}, "json.load(file)['data']"),
        ({"version": "1"}, "write an array of objects"),
    ],
)
def test_a_single_object_says_how_to_get_at_its_rows(
    tmp_path: Path, value: object, fix: str
) -> None:
    (tmp_path / "train.json").write_text(json.dumps(value, indent=1))
    with pytest.raises(DataError, match="one JSON object, not rows") as raised:
        open_source(tmp_path)
    assert raised.value.fix is not None
    assert raised.value.fix.endswith(fix) or fix in raised.value.fix


@pytest.mark.parametrize("indent", [None, 1])
def test_an_array_in_a_jsonl_file_is_to_be_renamed(tmp_path: Path, indent: int | None) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps([{"text": "a", "label": 1}], indent=indent))
    with pytest.raises(DataError, match="one JSON array") as raised:
        open_source(tmp_path)
    assert "rename it to 'train.json'" in str(raised.value)


def test_endless_integers_in_an_array_are_no_fault_of_python(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text('[{"text": ' + "9" * 5000 + ', "label": 1}]')
    from fastft.data.readers import ReadOptions

    table = open_source(tmp_path, ReadOptions(text_columns=("text",))).splits["train"].table
    assert table.column("text").to_pylist() == ["9" * 5000]
