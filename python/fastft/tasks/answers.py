"""Answers as the data gives them: read from any usual shape, and held against their contexts.

An answer is a text and the character of the context at which it begins. Where the text does not
stand there, the row cannot be trained on: it is never moved, but counted, named and left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fastft.errors import ColumnError, DataError
from fastft.tasks.answer_faults import (
    Fault,
    counted,
    fault_of_list,
    fault_of_place,
    fault_of_text,
    stands,
)
from fastft.tasks.columns import require_column, text_column

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastft.data.sources import Split

_SHAPES = (
    '{"text": ["..."], "answer_start": [0]}, a list of {"text": "...", "answer_start": 0}, '
    "or a string beside a column 'answer_start'"
)


@dataclass(frozen=True)
class AnswerColumns:
    """The columns that a question is read from.

    Attributes:
        question: The question.
        context: The text that holds the answer.
        answers: The answers, or the text of the only one.
        answer_start: Where the only answer begins; None where `answers` says it.
        is_impossible: Whether a question has no answer, as SQuAD 2.0 says it; None without one.
    """

    question: str
    context: str
    answers: str
    answer_start: str | None = None
    is_impossible: str | None = None


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers of all rows.

    Attributes:
        texts: All right answers of each row; empty where a question has none.
        spans: int64 (B, 2): the characters of the first answer; -1 where there is none.
        faults: The rows that cannot be used.
        num_misplaced_others: Answers beside the first one that stand elsewhere. Only their text
            counts, in evaluations.
        num_set_aside: Questions that are marked as impossible and have answers all the same.
    """

    texts: list[list[str]]
    spans: NDArray[np.int64]
    faults: list[Fault]
    num_misplaced_others: int
    num_set_aside: int

    def notes(self, split: str) -> Iterator[str]:
        """Yields what the user should know beside the faults."""
        if self.num_misplaced_others:
            answers = counted(self.num_misplaced_others, "further answer")
            yield (
                f"{split}: {answers} not where answer_start says; only the text is used, to score "
                "predictions"
            )
        if self.num_set_aside:
            questions = counted(self.num_set_aside, "question")
            yield (
                f"{split}: {questions} marked is_impossible, with answers all the same; taken as "
                "without an answer"
            )

    def take(self, rows: NDArray[np.int64]) -> Answers:
        """Gives the answers of some of the rows, none of them faulty."""
        texts = [self.texts[row] for row in rows]
        return replace(self, texts=texts, spans=self.spans[rows], faults=[])

    def require_one(self, split: Split, column: str) -> None:
        """Raises when no question has an answer, so that there is nothing to learn.

        Raises:
            DataError: There is none.
        """
        if not any(self.texts):
            raise DataError(
                "no question has an answer",
                place=f"{split.name} split, column {column!r}",
                found=f"{counted(len(self.texts), 'row')} without an answer",
                expected="answers to learn from",
                fix="name the column of the answers with answers=, or fill the answers in",
            )


def find_start_column(split: Split, answers: str) -> str | None:
    """Finds the column with the start of the answer, where the answers are plain texts.

    Raises:
        ColumnError: There is none, or the answers have a type of no use.
    """
    kind = split.table.schema.field(answers).type
    if _is_text(kind):
        if "answer_start" in split.table.column_names:
            return "answer_start"
        raise _wrong_type(split, answers, f"{kind}, and no column 'answer_start'")
    if pa.types.is_null(kind) or _is_struct_of_answers(kind):
        return None
    if _is_list(kind) and (
        pa.types.is_null(kind.value_type) or _is_struct_of_answers(kind.value_type)
    ):
        return None
    raise _wrong_type(split, answers, str(kind))


def has_unanswerable(split: Split, columns: AnswerColumns) -> bool:
    """Whether a split has questions without an answer."""
    return any(
        impossible or (given is not None and not given)
        for given, impossible in _given(split, columns)
    )


def read_answers(split: Split, columns: AnswerColumns, *, answered_only: bool) -> Answers:
    """Reads the answers of a split and holds them against their contexts.

    Args:
        split: The split.
        columns: Its columns.
        answered_only: Whether a question without an answer is a fault.
    """
    texts: list[list[str]] = []
    spans = np.full((split.table.num_rows, 2), -1, np.int64)
    faults, misplaced, set_aside = [], 0, 0
    questions = text_column(split, columns.question)
    contexts = text_column(split, columns.context)
    rows = zip(questions, contexts, _given(split, columns), strict=True)
    for row, (question, context_value, (given, impossible)) in enumerate(rows):
        set_aside += bool(impossible and given)
        answers = [] if impossible else given
        context = context_value.as_py()
        fault = (
            fault_of_text(row, question.as_py(), "question")
            or fault_of_text(row, context, "context")
            or fault_of_list(row, answers, answered_only)
            or (fault_of_place(row, *answers[0], context) if answers else None)
        )
        if fault is not None:
            faults.append(fault)
        elif answers:
            text, start = answers[0]
            spans[row] = start, start + len(text)
            misplaced += sum(not stands(*other, context) for other in answers[1:])
        texts.append([str(text) for text, _ in answers or ()])
    return Answers(texts, spans, faults, misplaced, set_aside)


def _given(
    split: Split, columns: AnswerColumns
) -> Iterator[tuple[list[tuple[Any, Any]] | None, bool]]:
    """Yields the answers of each row, None where they are missing, and whether it has none."""
    values = require_column(split, columns.answers)
    if find_start_column(split, columns.answers) != columns.answer_start:
        raise _wrong_type(split, columns.answers, f"{values.type}, other than in training")
    starts = None if columns.answer_start is None else require_column(split, columns.answer_start)
    name = columns.is_impossible
    marks = None if name not in split.table.column_names else split.table.column(name)
    for row, value in enumerate(values):
        if starts is None:
            given = _listed(value.as_py())
        else:
            text = value.as_py()
            given = [(text, _whole(starts[row].as_py()))] if text else []
        # A csv file holds "True", a table without booleans 1.
        mark = "" if marks is None else str(marks[row].as_py()).strip().lower()
        yield given, mark in ("true", "1")


def _listed(value: Any) -> list[tuple[Any, Any]] | None:
    """Gives texts and starts of one value: a dict of lists, a dict, or a list of dicts."""
    if value is None:
        return None
    if isinstance(value, list):
        return [_pair(part) if part else (None, None) for part in value]
    texts, starts = value["text"], value["answer_start"]
    if not isinstance(texts, list) and not isinstance(starts, list):
        return [_pair(value)] if texts else []
    texts, starts = texts or [], starts or []
    longer = max(len(texts), len(starts))
    pad = [None] * longer
    return list(zip((texts + pad)[:longer], map(_whole, (starts + pad)[:longer]), strict=True))


def _pair(value: dict[str, Any]) -> tuple[Any, Any]:
    return value["text"], _whole(value["answer_start"])


def _whole(value: Any) -> int | None:
    """Gives a whole number, also of a decimal or of digits; None where it is none."""
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"\s*-?[0-9]{1,18}\s*", value) else None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _is_struct_of_answers(kind: pa.DataType) -> bool:
    """Whether a type is a struct of text and answer_start, each a value or a list of them."""
    if not pa.types.is_struct(kind):
        return False
    fields = {field.name: field.type for field in kind}
    if not {"text", "answer_start"} <= set(fields):
        return False
    if _is_list(fields["text"]) != _is_list(fields["answer_start"]):
        return False
    text, start = (
        kind.value_type if _is_list(kind) else kind
        for kind in (fields["text"], fields["answer_start"])
    )
    is_number = pa.types.is_integer(start) or pa.types.is_floating(start)
    return (_is_text(text) or pa.types.is_null(text)) and bool(is_number or pa.types.is_null(start))


def _wrong_type(split: Split, column: str, found: str) -> ColumnError:
    return ColumnError(
        "the answers have no shape that can be read",
        place=split.place(0, column),
        found=found,
        expected=_SHAPES,
        fix="give every answer its text and the character of the context at which it begins",
    )
