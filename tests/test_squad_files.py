"""SQuAD's nested files become rows that can be traced, and their faults are named."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from fastft.data.sources import open_source
from fastft.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


def question(**fields: Any) -> dict[str, Any]:
    answers = [{"text": "Ann", "answer_start": 0}]
    return {"id": "q1", "question": "who?", "answers": answers, **fields}


def document(*questions: Any, **fields: Any) -> dict[str, Any]:
    paragraph = {"context": "Ann came.", "qas": list(questions), **fields}
    return {"version": "1.1", "data": [{"title": "People", "paragraphs": [paragraph]}]}


def write(folder: Path, content: Any, name: str = "train.json") -> Path:
    path = folder / name
    text = content if isinstance(content, str) else json.dumps(content, indent=1)
    path.write_text(text, encoding="utf-8")
    return path


def test_questions_become_rows_with_their_context(tmp_path):
    two = [{"text": "Ann", "answer_start": 0}, {"text": "Ann came", "answer_start": 0}]
    qas = [question(answers=two), question(id=7, answers=[], is_impossible=True)]
    split = open_source(write(tmp_path, document(*qas))).splits["train"]
    first, second = split.table.to_pylist()
    assert first == {
        "id": "q1",
        "title": "People",
        "context": "Ann came.",
        "question": "who?",
        "answers": {"text": ["Ann", "Ann came"], "answer_start": [0, 0]},
        "is_impossible": False,
    }
    assert second["id"] == "7"
    assert second["answers"] == {"text": [], "answer_start": []}
    assert second["is_impossible"] is True


def test_a_row_knows_file_article_paragraph_and_question(tmp_path):
    content = document(question())
    content["data"].append({"paragraphs": [{"context": "x", "qas": []}, {"context": "y"}]})
    content["data"][1]["paragraphs"][1]["qas"] = [question(id=None)]
    path = write(tmp_path, content)
    split = open_source(path).splits["train"]
    assert split.place(0) == f"{path}, data[0] 'People', paragraphs[0], question 'q1'"
    assert split.place(1) == f"{path}, data[1], paragraphs[1], question qas[0]"


def test_no_answers_at_all_are_missing_not_empty(tmp_path):
    bare = question()
    del bare["answers"]
    table = open_source(write(tmp_path, document(bare))).splits["train"].table
    assert table.column("answers").to_pylist() == [None]


def test_a_folder_of_splits_and_a_byte_order_mark(tmp_path):
    write(tmp_path, document(question()))
    write(tmp_path, "\ufeff" + json.dumps(document(question(id="v"))), "dev.json")
    source = open_source(tmp_path)
    assert source.splits["validation"].table.column("id").to_pylist() == ["v"]
    assert any("BOM" in note for note in source.notes)


@pytest.mark.parametrize(
    "text",
    [
        '{"paragraphs": 1, "text": "a"}\n{"paragraphs": 2, "text": "b"}\n',
        '[{"paragraphs": 1, "text": "a"}, {"paragraphs": 2, "text": "b"}]',
    ],
)
def test_other_json_with_paragraphs_is_read_as_ever(tmp_path, text):
    table = open_source(write(tmp_path, text)).splits["train"].table
    assert table.to_pydict() == {"paragraphs": [1, 2], "text": ["a", "b"]}


def test_an_object_without_articles_is_refused_as_ever(tmp_path):
    with pytest.raises(DataError, match="one JSON object, not rows"):
        open_source(write(tmp_path, '{"data": [{"text": "paragraphs"}], "paragraphs": 2}'))


FAULTS = [
    (document(question(question=5)), "'question' is not a string", "question 'q1'"),
    (document(question(answers={"text": "Ann"})), "'answers' is not an array", "question 'q1'"),
    (
        document(question(answers=[{"text": "Ann"}])),
        "the field 'answer_start' is missing",
        "question 'q1'",
    ),
    (
        document(question(answers=[{"text": "Ann", "answer_start": "0"}])),
        "'answer_start' is not a whole number",
        "question 'q1'",
    ),
    (
        document(question(answers=[{"text": "Ann", "answer_start": 10**30}])),
        "'answer_start' is not a whole number",
        "question 'q1'",
    ),
    (
        document(question(answers=[{"text": "Ann", "answer_start": True}])),
        "'answer_start' is not a whole number",
        "question 'q1'",
    ),
    (document(question(is_impossible="no")), "is_impossible is neither", "question 'q1'"),
    (document("who?"), "an object with named fields was expected", "question qas[0]"),
    (document(question(), context=None), "'context' is not a string", "paragraphs[0]"),
    (document(question(question="\ud800?")), "half of a surrogate pair", "question 'q1'"),
    (document(), "there are no questions", "train.json"),
    ({"data": [{"paragraphs": {}}]}, "'paragraphs' is not an array", "data[0]"),
    ({"data": [{"paragraphs": []}, {"title": "x"}]}, "'paragraphs' is missing", "data[1] 'x'"),
]


@pytest.mark.parametrize(("content", "problem", "place"), FAULTS)
def test_a_part_that_is_not_squad_is_named(tmp_path, content, problem, place):
    path = write(tmp_path, content)
    with pytest.raises(DataError) as caught:
        open_source(path)
    assert problem in caught.value.problem
    assert str(path) in caught.value.place and place in caught.value.place


def test_broken_json_is_named_by_line_and_column(tmp_path):
    text = '{"data": [\n{"paragraphs": [{"context" "Ann"}]}]}'
    with pytest.raises(DataError, match=r"line 2: broken JSON at column 28"):
        open_source(write(tmp_path, text))


def test_a_field_that_stands_twice_is_refused(tmp_path):
    text = json.dumps(document(question())).replace('"id": "q1"', '"id": "q1", "id": "q2"')
    with pytest.raises(DataError, match="'id' stands twice"):
        open_source(write(tmp_path, text))


def test_endless_nesting_is_refused(tmp_path):
    deep = "[" * 100_000 + "]" * 100_000
    text = '{"paragraphs": 1, "data": [{"paragraphs": ' + deep + "}]}"
    with pytest.raises(DataError, match="nested more than"):
        open_source(write(tmp_path, text))


def test_real_files(shared_data):
    for name, count in (("xquad/xquad.en", 1190), ("drcd/DRCD_dev", 3524)):
        path = shared_data / "qa" / f"{name}.json"
        split = open_source(path).splits["train"]
        assert split.table.num_rows == count
        for row in (0, count - 1):
            assert repr(split.table.column("id")[row].as_py()) in split.place(row)
