"""Rows whose answer cannot be trained on: what is wrong, counted and named, never repaired."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastft.data.diagnose import clip
from fastft.errors import DataError
from fastft.tasks.columns import text_column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastft.data.sources import Split

# So many places are named; the rest are counted.
MOST_PLACES = 3
# More faulty rows than this share say that the file was written wrongly, not a row of it.
MOST_FAULTS = 0.5


@dataclass(frozen=True)
class Fault:
    """A row that cannot be trained on.

    Attributes:
        row: The row.
        problem: What is wrong.
        found: What stands there.
        expected: What should stand there.
        cause: What probably went wrong, if several rows were to say the same.
    """

    row: int
    problem: str
    found: str
    expected: str
    cause: str = ""


def fault_of_text(row: int, text: str, name: str) -> Fault | None:
    """Finds whether a question or a context is blank."""
    if text.strip():
        return None
    return Fault(row, f"the {name} is blank", clip(text), f"a {name}")


def refuse_blank(split: Split, columns: Sequence[str]) -> None:
    """Raises for a question or a context that says nothing.

    Raises:
        DataError: There is one.
    """
    for column in columns:
        for row, value in enumerate(text_column(split, column)):
            fault = fault_of_text(row, value.as_py(), column)
            if fault is not None:
                raise DataError(
                    fault.problem,
                    place=split.place(row, column),
                    found=fault.found,
                    expected=fault.expected,
                    fix="fill it in or drop the row",
                )


def fault_of_list(
    row: int, answers: list[tuple[Any, Any]] | None, answered_only: bool
) -> Fault | None:
    """Finds what is wrong with the answers of a row, whatever its context says."""
    if answers is None:
        return Fault(row, "the answers are missing", "null", "answers, or an empty list for none")
    if not answers and answered_only:
        problem = "the question has no answer, while all questions of the training have one"
        return Fault(row, problem, "no answers", "an answer")
    for text, start in answers:
        if text is None or not text.strip():
            return Fault(row, "an answer is blank", clip(text), "a text that the context holds")
        if start is None:
            problem = "the start of an answer is missing or no whole number"
            return Fault(row, problem, f"{clip(text)} without answer_start", "a character number")
    return None


def stands(text: str, start: int, context: str) -> bool:
    """Whether a text stands at a character of a context."""
    return start >= 0 and context.startswith(text, start)


def fault_of_place(row: int, text: str, start: int, context: str) -> Fault | None:
    """Finds whether the answer that is trained on is not where the data says."""
    if stands(text, start, context):
        return None
    if not 0 <= start < len(context):
        there = f"answer_start {start} of a context of {len(context)} characters"
    else:
        there = f"{clip(context[start : start + len(text)])} at character {start}"
    places = [match.start() for match in re.finditer(re.escape(text), context)]
    nearest = min(places, key=lambda place: abs(place - start), default=None)
    where = "which is nowhere in the context"
    if nearest is not None:
        where = f"which stands at character {nearest}"
    problem = "the answer is not where answer_start says"
    expected = f"{clip(text)}, {where}"
    return Fault(row, problem, there, expected, _cause(text, start, context, nearest))


def _cause(text: str, start: int, context: str, nearest: int | None) -> str:
    """Says how the start was probably counted."""
    if nearest is None:
        return "the context does not hold the answer"
    if start < 0:
        return "a start below 0"
    if context.encode()[start:].startswith(text.encode()):
        return "answer_start counts bytes of UTF-8, not characters"
    if context.encode("utf-16-le")[2 * start :].startswith(text.encode("utf-16-le")):
        return "answer_start counts units of UTF-16, not characters"
    return f"answer_start is off by {start - nearest:+}"


def faults_note(split: Split, column: str, faults: Sequence[Fault], *, strict: bool) -> str:
    """Says which rows are left out.

    Args:
        split: The split.
        column: The column with the answers.
        faults: Its faulty rows, at least one.
        strict: Whether a single one of them stops the run.

    Raises:
        DataError: `strict` is set, or most rows are faulty.
    """
    first, count = faults[0], len(faults)
    total = split.table.num_rows
    if strict or count > MOST_FAULTS * total:
        cause, _ = Counter(fault.cause for fault in faults).most_common(1)[0]
        fix = "correct the answers" + (f": {cause}" if cause else "")
        raise DataError(
            f"{first.problem} ({count:,} of {total:,} rows are at fault)",
            place=split.place(first.row, column),
            found=first.found,
            expected=first.expected,
            fix=fix + (", or pass check='warn' to leave such rows out" if strict else ""),
        )
    places = [
        f"{split.place(fault.row)}: {fault.problem}, found {fault.found}, expected {fault.expected}"
        for fault in faults[:MOST_PLACES]
    ]
    more = f"; and {count - MOST_PLACES:,} more" if count > MOST_PLACES else ""
    verb = "is" if count == 1 else "are"
    return f"{split.name}: {count:,} of {total:,} rows {verb} left out: {'; '.join(places)}{more}"


def counted(number: int, noun: str) -> str:
    """Gives a number with its noun.

    Example:
        >>> counted(1, "window"), counted(1200, "window")
        ('1 window', '1,200 windows')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
