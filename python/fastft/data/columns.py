"""Columns beside the text (labels and the like): numbers with an entry, or a run of them, a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.data.ragged_column import RaggedColumn
from fastft.errors import ColumnError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    Column = NDArray[Any] | RaggedColumn


def checked_columns(
    columns: Mapping[str, Any], *, num_rows: int, reserved: Iterable[str]
) -> dict[str, Column]:
    """Gives the columns as contiguous int64 or float32 arrays, which cannot be written to.

    Integers and booleans become int64, floats float32, the types that a stock collator gives. A
    `RaggedColumn` stays as it is.

    Raises:
        ColumnError: A name is taken, a column has another length, or holds no numbers.

    Example:
        >>> checked_columns({"labels": [0, 1]}, num_rows=2, reserved=())["labels"].dtype
        dtype('int64')
    """
    checked: dict[str, Column] = {}
    for name, values in columns.items():
        if name in reserved:
            raise ColumnError(
                "this name is taken by what the tokenizer gives", place=f"column {name!r}"
            )
        column = values if isinstance(values, RaggedColumn) else _numbers(name, values)
        is_single = isinstance(column, np.ndarray) and column.ndim == 0
        if is_single or len(column) != num_rows:
            raise ColumnError(
                "a column has one entry a row",
                place=f"column {name!r}",
                found="a single value" if is_single else f"{len(column)} entries",
                expected=f"{num_rows} entries",
            )
        checked[name] = column
    return checked


def column_arrays(columns: Mapping[str, Column]) -> dict[str, NDArray[Any]]:
    """Gives columns as plain arrays by name, to be sent or kept; see `column_from_arrays`."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, column in columns.items():
        if isinstance(column, RaggedColumn):
            arrays[f"column.{name}"] = column.values
            arrays[f"column_offsets.{name}"] = column.offsets
        else:
            arrays[f"column.{name}"] = column
    return arrays


def rust_columns(columns: Mapping[str, Column]) -> dict[str, Any]:
    """Gives columns as `_fastft.TokenDataset.with_columns` takes them."""
    contiguous = np.ascontiguousarray
    return {
        name: (contiguous(column.values), contiguous(column.offsets))
        if isinstance(column, RaggedColumn)
        else column
        for name, column in columns.items()
    }


def column_from_arrays(arrays: Mapping[str, NDArray[Any]], name: str) -> Column:
    """Gives back a column that `column_arrays` took apart."""
    values, offsets = arrays[f"column.{name}"], arrays.get(f"column_offsets.{name}")
    return values if offsets is None else RaggedColumn(values, offsets)


def _numbers(name: str, values: Any) -> NDArray[Any]:
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:  # rows of different lengths, tensors on a device
        raise _no_numbers(name, str(error)) from error
    if array.size == 0 and array.dtype.kind == "f" and not isinstance(values, np.ndarray):
        array = array.astype(np.int64)  # an empty list has no type of its own
    match array.dtype.kind:
        case "i" | "b":
            column = array.astype(np.int64)
        case "u":
            if array.size and int(array.max()) > np.iinfo(np.int64).max:
                raise _no_numbers(name, f"{array.max()}, which is beyond int64")
            column = array.astype(np.int64)
        case "f":
            with np.errstate(over="ignore"):
                column = array.astype(np.float32)
        case _:
            raise _no_numbers(name, _first_oddity(array))
    column = np.require(column, requirements="C")  # keeps a single value the one value that it is
    column.flags.writeable = False
    return column


def _first_oddity(array: NDArray[Any]) -> str:
    for row, value in enumerate(array.tolist()):
        if not isinstance(value, (int, float)):
            return f"{value!r} in row {row}"
    return str(array.dtype)


def _no_numbers(name: str, found: str) -> ColumnError:
    return ColumnError(
        "a column holds something other than numbers of one shape",
        place=f"column {name!r}",
        found=found,
        expected="integers (kept as int64) or floats (kept as float32)",
        fix="turn names into numbers first, and give every row the same shape",
    )
