"""SQuAD files: one nested JSON object of articles, paragraphs and questions becomes rows.

    {"version": "1.1", "data": [{"title": ..., "paragraphs": [{"context": ..., "qas": [
        {"id": ..., "question": ..., "answers": [{"text": ..., "answer_start": ...}]}]}]}]}

A row is a question with its context, as `datasets` lays SQuAD out. Nothing is repaired and nothing
left out here: whether an answer stands where the file says is for the task to look at.

Invariant: every row can be traced to its article, its paragraph and its question.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from fastft.data.diagnose import clip
from fastft.data.json_faults import too_deep
from fastft.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA = pa.schema(
    [
        ("id", pa.large_string()),
        ("title", pa.large_string()),
        ("context", pa.large_string()),
        ("question", pa.large_string()),
        (
            "answers",
            pa.struct(
                [("text", pa.list_(pa.large_string())), ("answer_start", pa.list_(pa.int64()))]
            ),
        ),
        ("is_impossible", pa.bool_()),
    ]
)
_SHAPE = '{"data": [{"title", "paragraphs": [{"context", "qas": [{"question", "answers"}]}]}]}'
# Longer numbers do not fit into 64 bits, and Python reads no endless ones.
_MOST_DIGITS = 18


@dataclass(frozen=True)
class QuestionRows:
    """The places of the questions of a SQuAD file.

    Args:
        path: The file.
        places: The place of every row: the paragraph and the question.
    """

    path: Path
    places: list[tuple[str, str]] = field(repr=False)

    @property
    def count(self) -> int:
        """The number of questions."""
        return len(self.places)

    def place(self, row: int) -> str:
        """Returns `train.json, data[0] 'Warsaw', paragraphs[2], question '57332e48'`."""
        paragraph, question = self.places[row]
        return f"{self.path}, {paragraph}, question {question}"


def read_squad(path: Path, content: bytes) -> tuple[pa.Table, QuestionRows] | None:
    """Returns the questions of a SQuAD file; None when the file is no such file.

    Args:
        path: The file.
        content: Its text as valid UTF-8, not blank.

    Raises:
        DataError: The file is broken, or a part of it is not what SQuAD has there.

    Example:
        >>> from pathlib import Path
        >>> qas = '[{"id": "7", "question": "who?", "answers": []}]'
        >>> text = '{"data": [{"paragraphs": [{"context": "Ann.", "qas": %s}]}]}' % qas
        >>> table, rows = read_squad(Path("dev.json"), text.encode())
        >>> table.num_rows, rows.place(0)
        (1, "dev.json, data[0], paragraphs[0], question '7'")
    """
    looks_nested = content[:4096].lstrip()[:1] == b"{" and b'"paragraphs"' in content
    if path.suffix.lower() != ".json" or not looks_nested:
        return None
    articles = _articles(path, content)
    if articles is None:
        return None
    places: list[tuple[str, str]] = []
    rows = []
    for place, question, row in _questions(path, articles):
        places.append((place, question))
        rows.append(row)
    if not rows:
        raise _not_squad("there are no questions", str(path), "articles without questions")
    return pa.Table.from_pylist(rows, SCHEMA), QuestionRows(path, places)


def _articles(path: Path, content: bytes) -> list[Any] | None:
    """Returns what stands under "data"; None when the file is not one such object."""
    try:
        document = json.loads(content, object_pairs_hook=_unique_keys, parse_int=_integer)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # an object a line
            return None
        raise DataError(
            f"broken JSON at column {error.colno}: {error.msg}",
            place=f"{path}, line {error.lineno}",
            found=clip(error.doc[max(0, error.pos - 20) : error.pos + 60]),
            expected="one SQuAD object, one array of objects, or one object per line",
            fix="repair the file",
        ) from error
    except RecursionError:
        raise too_deep(str(path)) from None
    except ValueError as error:
        raise DataError(str(error), place=str(path), fix="repair the file") from error
    articles = document.get("data")
    if not isinstance(articles, list):
        return None
    is_squad = any(isinstance(article, dict) and "paragraphs" in article for article in articles)
    return articles if is_squad else None


def _questions(path: Path, articles: list[Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yields paragraph, question and row of every question."""
    for article_number, article in enumerate(articles):
        place = f"data[{article_number}]"
        title = _optional_text(article, "title", f"{path}, {place}")
        place += "" if title is None else f" {title!r}"
        paragraphs = _part(article, "paragraphs", list, f"{path}, {place}")
        for number, paragraph in enumerate(paragraphs):
            here = f"{place}, paragraphs[{number}]"
            context = _text(paragraph, "context", f"{path}, {here}")
            for index, question in enumerate(_part(paragraph, "qas", list, f"{path}, {here}")):
                name, row = _question(question, index, f"{path}, {here}")
                yield here, name, {"title": title, "context": context, **row}


def _question(question: Any, index: int, place: str) -> tuple[str, dict[str, Any]]:
    """Returns the name of a question for messages, and its part of the row."""
    is_named = isinstance(question, dict) and question.get("id") is not None
    name = repr(str(question["id"])) if is_named else f"qas[{index}]"
    place = f"{place}, question {name}"
    row = {
        "id": _checked(str(question["id"]), "id", place) if is_named else None,
        "question": _text(question, "question", place),
        "answers": _answers(question, place),
        "is_impossible": question.get("is_impossible", False),
    }
    if not isinstance(row["is_impossible"], bool):
        found = f'"is_impossible": {clip(row["is_impossible"])}'
        raise _not_squad("is_impossible is neither true nor false", place, found)
    return name, row


def _answers(question: dict[str, Any], place: str) -> dict[str, list[Any]] | None:
    """Returns texts and starts of the answers; None where the question says nothing of them."""
    if question.get("answers") is None:
        return None
    texts, starts = [], []
    for answer in _part(question, "answers", list, place):
        texts.append(_text(answer, "text", place))
        starts.append(_part(answer, "answer_start", int, place))
    return {"text": texts, "answer_start": starts}


def _part(parent: Any, name: str, kind: type, place: str) -> Any:
    """Returns a field of an object, which has to be of one kind."""
    if not isinstance(parent, dict):
        raise _not_squad("an object with named fields was expected", place, clip(parent))
    if name not in parent:
        raise _not_squad(f"the field {name!r} is missing", place, f"fields {clip(list(parent))}")
    value = parent[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = {list: "an array", str: "a string", int: "a whole number"}[kind]
        raise _not_squad(f"{name!r} is not {wanted}", place, clip(value))
    return value


def _text(parent: Any, name: str, place: str) -> str:
    return _checked(_part(parent, name, str, place), name, place)


def _optional_text(parent: Any, name: str, place: str) -> str | None:
    is_given = isinstance(parent, dict) and parent.get(name) is not None
    return _text(parent, name, place) if is_given else None


def _checked(text: str, name: str, place: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        problem = f"{name!r} holds half of a surrogate pair (\\ud800 to \\udfff)"
        found = clip(text[max(0, error.start - 20) :])
        raise DataError(problem, place=place, found=found, fix="repair the file") from None
    return text


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice!r} stands twice in one object: {clip(pairs)}")
    return keys


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MOST_DIGITS else digits


def _not_squad(problem: str, place: str, found: str) -> DataError:
    return DataError(
        problem, place=place, found=found, expected=f"SQuAD's {_SHAPE}", fix="repair the file"
    )
