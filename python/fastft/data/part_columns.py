"""What a dataset takes from the parts of streamed files: texts, numbers, and their faults.

Invariant: a value that cannot be used is named with its file, its line and its column.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastft.data.diagnose import clip
from fastft.data.path_names import checked_path
from fastft.errors import ColumnError, DataError, DataNotFoundError, LabelError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fastft.data.table_stream import TablePart

    Array = NDArray[Any]

FORMATS = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".txt")
_NAME = re.compile(r"\w+")  # it becomes the name of a file


def existing_file(file: str | Path) -> Path:
    """Gives the path of a file that is there and may be read.

    Raises:
        DataNotFoundError: There is no such file.
        DataError: It is a folder, or of a format that is not read.
    """
    path = checked_path(file, "files")
    if not path.exists():
        raise DataNotFoundError("there is no such file", place=str(path))
    if path.is_dir() or path.suffix.lower() not in FORMATS:
        raise DataError(
            "this is no file of a format that can be read",
            place=str(path),
            expected=", ".join(FORMATS),
            fix="name the files one by one: files=[...]",
        )
    return path


def checked_names(columns: Mapping[str, str], *, reserved: Iterable[str]) -> dict[str, str]:
    """Gives the names of further columns, by what they are called in the dataset.

    Raises:
        ColumnError: A name is taken, or is no name.
    """
    for name, found in columns.items():
        if name in reserved or not isinstance(found, str) or not _NAME.fullmatch(name):
            raise ColumnError(
                "this is no name for a column beside the tokens",
                place=f"argument columns, {name!r}",
                found=clip(found),
                expected='the name of a column of the files: {"labels": "label"}',
            )
    return dict(columns)


def column_of(part: TablePart, name: str) -> pa.ChunkedArray:
    """Gives a column that has a value in every row.

    Raises:
        ColumnError: There is no such column, or a value is missing.
    """
    names = part.table.column_names
    if name not in names:
        close = nearest(name, names)
        raise ColumnError(
            f"there is no column {name!r}",
            place=part.place(0),
            found=", ".join(map(repr, names)),
            fix=f"did you mean {close[0]!r}?" if close else "name one of these columns",
        )
    column = part.table.column(name)
    if column.null_count:
        row = int(column.is_null().index(True).as_py())
        raise ColumnError(
            "the value is missing",
            place=f"{part.place(row)}, column {name!r}",
            found="null",
            fix="fill it in or drop the row",
        )
    return column


def text_column_of(part: TablePart, name: str) -> pa.ChunkedArray:
    """Gives a column of texts.

    Raises:
        ColumnError: It is missing, or holds something else than texts.
    """
    column = column_of(part, name)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return column
    raise ColumnError(
        f"column {name!r} is not text",
        place=part.place(0),
        found=f"type {column.type}",
        expected="strings",
        fix="name the text column with text=, or turn the values into strings",
    )


def number_column_of(part: TablePart, name: str) -> Array:
    """Gives the values of a column as int64 or float32 (rows,); text is read as numbers.

    Raises:
        ColumnError: A value is no number.
    """
    column = column_of(part, name)
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    for number, dtype in ((pa.int64(), np.int64), (pa.float64(), np.float32)):
        try:
            values: Array = column.cast(number).to_numpy()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
        # Whole numbers of a float column stay floats, and integers beyond int64 are refused.
        if dtype is np.int64 and pa.types.is_floating(kind):
            continue
        if dtype is np.float32 and pa.types.is_integer(kind):
            break
        return values.astype(dtype)
    raise _no_number(part, name, column)


def label_column_of(part: TablePart, name: str, label_names: Sequence[str]) -> Array:
    """Gives the place of each value among the names, int64 (rows,).

    Raises:
        LabelError: A value is none of the names.
    """
    column = column_of(part, name).cast(pa.large_string())
    found = pc.index_in(column, pa.array(label_names, pa.large_string()))
    if found.null_count:
        row = int(found.is_null().index(True).as_py())
        raise LabelError(
            "the label is none of the names given",
            place=f"{part.place(row)}, column {name!r}",
            found=clip(column[row].as_py()),
            expected=clip(list(label_names)),
            fix="correct the label, or add it to label_names",
        )
    places: Array = found.to_numpy().astype(np.int64)
    return places


def _no_number(part: TablePart, name: str, column: pa.ChunkedArray) -> ColumnError:
    def is_number(value: Any) -> bool:
        try:
            pc.cast(pa.array([value]), pa.float64())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OverflowError):
            return False
        return True

    values: Iterator[tuple[int, Any]] = enumerate(column.to_pylist())
    wrong = next(((row, value) for row, value in values if not is_number(value)), None)
    row, value = wrong or (0, column[0].as_py())
    return ColumnError(
        "the value is no number",
        place=f"{part.place(row)}, column {name!r}",
        found=clip(value),
        expected="integers (kept as int64) or floats (kept as float32)",
        fix="write labels as 0, 1, 2 ..., or pass label_names=[...] for a column of names",
    )
