"""Python objects to Arrow tables: lists, dicts of columns, and everything that speaks Arrow.

Invariant: a column holds one type. Mixed types are an error that names the row, never a
conversion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from numbers import Number
from typing import Any

import numpy as np
import pyarrow as pa

from fastft.data.diagnose import clip, require_unique
from fastft.data.origins import ObjectRows
from fastft.data.readers import plain_types
from fastft.errors import ColumnError, DataError

KINDS = (
    "a path to a folder or file",
    "a dict of splits or of columns",
    "a list of (text, label) pairs or of dicts",
    "a pandas or polars DataFrame, a pyarrow Table, a datasets.Dataset or DatasetDict",
)

Values = list[Any] | tuple[Any, ...] | np.ndarray


@dataclass(frozen=True)
class ObjectRead:
    """What a Python object gave.

    Args:
        table: Its rows.
        rows: Their places.
        columns_are_fixed: True for pairs, whose columns are text and label.
    """

    table: pa.Table
    rows: ObjectRows
    columns_are_fixed: bool = False


def read_object(data: object, argument: str = "data") -> ObjectRead:
    """Returns the rows of a Python object.

    Args:
        data: One of the `KINDS` other than a path or a dict of splits.
        argument: How the user passed it, for messages: `data` or `data['train']`.

    Raises:
        DataError: The object is of no kind that can be read, is empty, or mixes types.
        ColumnError: Two columns have one name, or columns differ in length.

    Example:
        >>> read_object([("good", 1), ("bad", 0)]).table.to_pydict()
        {'text': ['good', 'bad'], 'label': [1, 0]}
    """
    name = f"the {type(data).__name__} given as {argument}"
    is_pair_list = False
    if isinstance(data, Mapping):
        table = _from_columns(data, name)
    elif isinstance(data, list | tuple):
        _refuse_empty(len(data), name)
        is_pair_list = not isinstance(data[0], Mapping)
        table = _from_pairs(data, name) if is_pair_list else _from_dicts(data, name)
    else:
        table = _from_arrow(data, name)
    _refuse_empty(table.num_rows, name)
    rows = ObjectRows(name, table.num_rows)
    return ObjectRead(plain_types(table, rows.place), rows, is_pair_list)


def _from_pairs(items: Sequence[Any], name: str) -> pa.Table:
    """Returns the columns text and label of a list of pairs."""
    for row, item in enumerate(items):
        if not isinstance(item, list | tuple) or len(item) != 2:
            raise DataError(
                "the item is not a pair of text and label",
                place=f"row {row} of {name}",
                found=clip(item),
                expected='("some text", 1), in every row',
                fix=_fix_of_item(item),
            )
    texts, labels = zip(*items, strict=True)
    odd = next((row for row, text in enumerate(texts) if not isinstance(text, str)), None)
    if odd is not None:
        raise DataError(
            "the text is not a string",
            place=f"row {odd} of {name}",
            found=clip(texts[odd]),
            expected='("some text", 1), in every row',
            fix="put the text first; remove rows without text",
        )
    return pa.table({"text": _column(texts, "text", name), "label": _column(labels, "label", name)})


def _fix_of_item(item: object) -> str:
    if isinstance(item, list | tuple) and len(item) == 3:
        return (
            "for pairs of texts pass a dict of columns and name the second text: "
            'data={"text": [...], "other": [...], "label": [...]}, pair="other"'
        )
    if isinstance(item, str):
        return "give every text its label, or pass a dict of columns"
    return "make all rows pairs, or all rows dicts"


def _from_dicts(items: Sequence[Any], name: str) -> pa.Table:
    """Returns the columns of a list of dicts; a key that a row lacks is a missing value."""
    for row, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise DataError(
                "the item is not a dict, as the first one is",
                place=f"row {row} of {name}",
                found=clip(item),
                expected='{"text": "...", "label": 0}, in every row',
                fix="make all rows dicts, or all rows pairs",
            )
    keys = list(dict.fromkeys(chain.from_iterable(items)))
    return pa.table({str(key): _column([row.get(key) for row in items], key, name) for key in keys})


def _from_columns(columns: Mapping[Any, Any], name: str) -> pa.Table:
    """Returns the table of a dict of columns."""
    arrays = {str(key): _as_column(values, key, name) for key, values in columns.items()}
    lengths = {key: len(array) for key, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ColumnError(
            "the columns differ in length",
            place=name,
            found=", ".join(f"{key!r}: {length} rows" for key, length in lengths.items()),
            expected="the same number of rows in every column",
            fix="check how the lists were built",
        )
    return pa.table(arrays)


def _as_column(values: Any, key: object, name: str) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, list | tuple | np.ndarray):
        return _column(values, key, name)
    if hasattr(values, "iloc") and values.dtype == object:
        return _column([None if _is_missing(value) else value for value in values], key, name)
    if hasattr(values, "__arrow_c_stream__"):
        return pa.chunked_array(values)
    if hasattr(values, "__arrow_c_array__"):
        return pa.array(values)
    raise ColumnError(
        f"column {key!r} is not a list",
        place=name,
        found=clip(values),
        expected="a dict of columns, each a list with a value per row, or a dict whose keys are "
        "names of splits (train, validation, test)",
        fix=f"pass {key!r} as a list, or correct the name",
    )


def _column(values: Values, key: object, name: str) -> pa.Array:
    """Returns values of one type as an Arrow column."""
    _refuse_mixed(values, key, name)
    try:
        return pa.array(values)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise ColumnError(
            f"column {key!r} cannot become an Arrow column",
            place=name,
            found=clip(str(error), 200),
            fix="use strings, numbers, or lists and dicts of them",
        ) from error


def _refuse_mixed(values: Values, key: object, name: str) -> None:
    """Raises when a column holds two types, and names the first row that differs."""
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


def _is_missing(value: object) -> bool:
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


def _from_arrow(data: Any, name: str) -> pa.Table:
    """Returns the table of an object that speaks Arrow, without the index of pandas."""
    if hasattr(data, "iloc") and hasattr(data, "columns"):
        _refuse_mixed_pandas(data, name)
    try:
        if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
            table = pa.table(data)
        elif hasattr(data, "with_format") and hasattr(data, "__getitem__"):
            table = data.with_format("arrow")[:]  # datasets.Dataset, its selection applied
        else:
            raise _unknown_kind(data, name)
    except (pa.ArrowException, ValueError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            "the object is not a table that Arrow can hold",
            place=name,
            found=clip(str(error), 200),
            expected="named columns of strings and numbers",
            fix="pass a DataFrame or Table with a column for the text and one for the label",
        ) from error
    require_unique(table.column_names, name)
    index = (table.schema.pandas_metadata or {}).get("index_columns", [])
    return table.drop_columns([column for column in index if isinstance(column, str)])


def _refuse_mixed_pandas(data: Any, name: str) -> None:
    names = [str(column) for column in data.columns]
    require_unique(names, name)
    for column in data.columns:
        if data[column].dtype == object:
            # Missing values of pandas are NaN, which no other column of a table would mix with.
            values = [None if _is_missing(value) else value for value in data[column]]
            _refuse_mixed(values, column, name)


def _unknown_kind(data: object, name: str) -> DataError:
    is_stream = hasattr(data, "__iter__") and not hasattr(data, "__len__")
    return DataError(
        f"objects of type {_type_name(data)} cannot be read",
        place=name,
        found=clip(data),
        expected="; ".join(KINDS),
        fix="collect the stream first: list(data)" if is_stream else "convert it to one of these",
    )


def _type_name(data: object) -> str:
    kind = type(data)
    is_builtin = kind.__module__ == "builtins"
    return kind.__qualname__ if is_builtin else f"{kind.__module__}.{kind.__qualname__}"


def _refuse_empty(rows: int, name: str) -> None:
    if not rows:
        raise DataError(
            "there are no rows", place=name, expected="at least one row", fix="pass data"
        )
