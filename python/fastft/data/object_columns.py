"""Lists of Python values to Arrow columns.

Invariant: a column holds one type. Mixed types are an error that names the row, never a
conversion; so is a value that Arrow cannot hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np
import pyarrow as pa

from fastft.data.diagnose import clip
from fastft.errors import ColumnError

Values = list[Any] | tuple[Any, ...] | np.ndarray

# Deeper values crash Arrow or Python, and no row of a real table is as deep.
MAX_NESTING = 100


def any_column(key: object, values: Any, name: str) -> pa.Array | pa.ChunkedArray:
    """Returns one column of a dict of columns.

    Args:
        key: The name of the column.
        values: A list, or an array of numpy, pandas, polars or Arrow.
        name: What messages call the object that holds it.

    Raises:
        ColumnError: It is no list, mixes types, or holds a value that Arrow cannot hold.
    """
    if isinstance(values, list | tuple | np.ndarray):
        return column_of(values, key, name)
    if hasattr(values, "iloc") and values.dtype == object:
        return column_of([None if is_missing(value) else value for value in values], key, name)
    try:
        if hasattr(values, "__arrow_c_stream__"):
            return pa.chunked_array(values)
        if hasattr(values, "__arrow_c_array__"):
            return pa.array(values)
    except Exception as error:  # the code of another library, which raises what it likes
        raise _unfit(key, name, f"{type(error).__name__}: {error}") from error
    raise ColumnError(
        f"column {key!r} is not a list",
        place=name,
        found=clip(values),
        expected="a dict of columns, each a list with a value per row, or a dict whose keys are "
        "names of splits (train, validation, test)",
        fix=f"pass {key!r} as {_how_to_list(values)}, or correct the name",
    )


def _how_to_list(values: Any) -> str:
    if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
        return "a list"
    return "a list: values.tolist()" if hasattr(values, "tolist") else "a list: list(values)"


def column_of(values: Values, key: object, name: str) -> pa.Array:
    """Returns values of one type as an Arrow column.

    Args:
        values: A value a row; None where one is missing.
        key: The name of the column.
        name: What messages call the object that holds it.

    Raises:
        ColumnError: The types are mixed, or a value is of a kind that Arrow cannot hold.
    """
    if isinstance(values, np.ndarray) and values.ndim != 1:
        raise _unfit(key, name, f"an array of shape {values.shape}")
    refuse_mixed(values, key, name)
    _refuse_deep(values, key, name)
    try:
        return pa.array(values)
    except Exception as error:  # pyarrow passes on what it meets: overflows, surrogates, types
        raise _odd_value(values, key, name) or _unfit(key, name, str(error)) from error


def checked_name(key: object, name: str) -> str:
    """Returns the name of a column as text.

    Raises:
        ColumnError: Arrow cannot hold it.
    """
    text = str(key)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ColumnError(
            "the name of a column holds half of a surrogate pair, which UTF-8 cannot express",
            place=name,
            found=clip(text),
            fix="rename the column",
        )
    return text


def refuse_mixed(values: Values, key: object, name: str) -> None:
    """Raises when a column holds two types, and names the first row that differs.

    Raises:
        ColumnError: Two types are met.
    """
    if isinstance(values, np.ndarray) and values.dtype != object:
        return
    first: tuple[int, str] | None = None
    for row, value in enumerate(values):
        kind = _kind_of(value)
        first = first or (kind and (row, kind)) or None
        if first and kind and kind != first[1]:
            raise ColumnError(
                f"column {key!r} mixes types: {kind} here, {first[1]} in row {first[0]}",
                place=f"row {row} of {name}",
                found=clip(value),
                expected=f"one type in all rows of {key!r}",
                fix=f"convert the column, for example with str(), or correct row {row}",
            )


def is_missing(value: object) -> bool:
    """Returns whether pandas would call the value missing: None, NaN, NA, NaT."""
    is_nan = isinstance(value, float) and value != value
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")


def _kind_of(value: object) -> str:
    """Returns the family of a value's type; the empty string for a missing value."""
    if value is None:
        return ""
    if isinstance(value, bool | np.bool_):
        return "bool"
    if isinstance(value, Number):
        return "number"
    families = ((str, "str"), (bytes, "bytes"), (Mapping, "dict"), (Sequence | np.ndarray, "list"))
    return next((n for kind, n in families if isinstance(value, kind)), type(value).__name__)


def _refuse_deep(values: Values, key: object, name: str) -> None:
    for row, value in enumerate(values):
        if _is_nested(value) and _is_deep(value):
            raise ColumnError(
                f"a value of column {key!r} is nested more than {MAX_NESTING} levels deep",
                place=f"row {row} of {name}",
                found=f"a {type(value).__name__}",
                expected="lists and dicts of a few levels",
                fix="leave the column out, or flatten it",
            )


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_NESTING):
        inner = (item for part in level for item in _items(part) if _is_nested(item))
        level = list({id(item): item for item in inner}.values())  # a list may hold itself
        if not level:
            return False
    return True


def _is_nested(value: object) -> bool:
    return isinstance(value, list | tuple | Mapping)


def _items(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, Mapping) else value


def _odd_value(values: Values, key: object, name: str) -> ColumnError | None:
    """Returns the error for the first value that Arrow cannot hold, if one alone is at fault."""
    if isinstance(values, np.ndarray) and values.dtype != object:
        return None
    for row, value in enumerate(values):
        try:
            pa.array([value])
        except Exception as error:  # as in column_of
            problem, fix = _why(value, error)
            return ColumnError(
                f"a value of column {key!r} {problem}",
                place=f"row {row} of {name}",
                found=clip(value),
                expected="strings, numbers, or lists and dicts of them",
                fix=fix,
            )
    return None


def _why(value: object, error: Exception) -> tuple[str, str]:
    """Returns what is wrong with a value that Arrow refuses, and what to change."""
    if isinstance(error, UnicodeEncodeError):
        return (
            "holds half of a surrogate pair, which UTF-8 cannot express",
            "text.encode(errors='replace').decode(), or read the file as UTF-8",
        )
    if isinstance(error, OverflowError):
        return (
            "is an integer beyond int64",
            "turn the column into strings: [str(value) for value in values]",
        )
    if hasattr(value, "item"):
        return "is of a kind that Arrow cannot hold", "turn it into a number: value.item()"
    if hasattr(value, "name") and hasattr(value, "value"):
        return "is of a kind that Arrow cannot hold", "pass the name of the member: value.name"
    return "is of a kind that Arrow cannot hold", "turn the column into strings or numbers"


def _unfit(key: object, name: str, found: str) -> ColumnError:
    return ColumnError(
        f"column {key!r} cannot become an Arrow column",
        place=name,
        found=clip(found, 200),
        expected="one value a row: strings, numbers, or lists and dicts of them",
        fix="use strings, numbers, or lists and dicts of them",
    )
