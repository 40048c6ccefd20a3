"""Rows to predict for: whatever the user passed, as a split with the columns of the task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from fastft.data.origins import ObjectRows, Origin
from fastft.data.parts import open_object
from fastft.data.sources import Split
from fastft.errors import DataError

if TYPE_CHECKING:
    from fastft.tasks.base import Task


def input_split(task: Task, inputs: Any, text_pair: Any = None) -> Split | None:
    """Gives the rows as a split; None when there are none.

    Args:
        task: The task, which knows its columns.
        inputs: A list of texts, or rows with these columns (a list of dicts, a table).
        text_pair: The second texts, for a task on two columns.

    Raises:
        DataError: The rows are not what the task reads.
    """
    given = _listed(inputs, "inputs")
    if hasattr(given, "__len__") and len(given) == 0:
        return None
    has_columns = not isinstance(given, list | pa.Array | pa.ChunkedArray)
    is_rows = isinstance(given, list) and isinstance(given[0], Mapping)
    if text_pair is None and (has_columns or is_rows):
        part = open_object(given, "inputs")
    else:
        part = open_object(_named(task, given, text_pair), "inputs")
    found = part.table.column_names
    missing = [name for name in task.input_columns if name not in found]
    if missing:
        raise DataError(
            "a prediction needs the columns that the task reads",
            place="argument inputs",
            found=", ".join(map(repr, found)),
            expected=", ".join(map(repr, task.input_columns)),
            fix=f"add {missing[0]!r}",
        )
    # Named for what the user passed, not for the dict that it was put into here.
    origin = Origin((ObjectRows("the list given as inputs", part.table.num_rows),))
    return Split("inputs", part.table, origin)


def _named(task: Task, texts: Any, text_pair: Any) -> dict[str, Any]:
    """Gives texts, or texts with second texts, the names of the columns of the task."""
    columns = task.input_columns
    values = [texts] if text_pair is None else [texts, _listed(text_pair, "text_pair")]
    if len(values) != len(columns):
        raise DataError(
            f"the task reads {len(columns)} columns, and here are {len(values)}",
            place="argument text_pair",
            found="no second texts" if text_pair is None else "second texts",
            expected=f"what {' and '.join(map(repr, columns))} held in training",
            fix="leave text_pair out"
            if len(columns) == 1
            else "pass predict(texts, text_pair), or dicts with these keys",
        )
    if len({len(value) for value in values}) > 1:
        raise DataError(
            "texts and text_pair differ in length",
            place="argument text_pair",
            found=" and ".join(f"{len(value)} rows" for value in values),
            expected="a second text for each text",
            fix="pass as many second texts as texts",
        )
    return dict(zip(columns, values, strict=True))


def _listed(values: Any, name: str) -> Any:
    """Takes rows; what has no order, or is one text, is refused."""
    if isinstance(values, pa.Array | pa.ChunkedArray) or hasattr(values, "__arrow_c_stream__"):
        return values
    one_text = isinstance(values, str | bytes)
    if isinstance(values, Iterable) and not one_text and not isinstance(values, Mapping | Set):
        return values if hasattr(values, "columns") else list(values)
    raise DataError(
        "predict takes a list of texts",
        place=f"argument {name}",
        found=f"one text, {values[:40]!r}" if one_text else type(values).__name__,
        expected="a list",
        fix="put the text into a list: predict([text])" if one_text else "pass a list of strings",
    )
