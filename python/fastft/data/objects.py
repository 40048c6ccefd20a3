"""Python objects to Arrow tables: lists, dicts of columns, and everything that speaks Arrow.

Lists become columns in `object_columns`; here is what an object as a whole may be.

Invariant: an object that is none of the `KINDS` is refused with a way to make it one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pyarrow as pa

from fastft.data.diagnose import clip, require_unique
from fastft.data.object_columns import any_column, checked_name, column_of, is_missing, refuse_mixed
from fastft.data.origins import ObjectRows
from fastft.data.readers import plain_types
from fastft.errors import ColumnError, DataError

KINDS = (
    "a path to a folder or file",
    "a dict of splits or of columns",
    "a list of (text, label) pairs or of dicts",
    "a pandas or polars DataFrame, a pyarrow Table, a datasets.Dataset or DatasetDict",
)


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
        table = _from_arrow(data, name, argument)
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
    columns = {"text": texts, "label": labels}
    return pa.table({key: column_of(values, key, name) for key, values in columns.items()})


def _fix_of_item(item: object) -> str:
    if isinstance(item, list | tuple) and len(item) == 3:
        return (
            "for pairs of texts pass a dict of columns and name the second text: "
            'data={"text": [...], "other": [...], "label": [...]}, pair="other"'
        )
    if isinstance(item, str):
        return "give every text its label, or pass a dict of columns"
    if item is None:
        return "remove the items that are None"
    if hasattr(item, "tolist"):
        return "turn the item into a tuple: tuple(item.tolist())"
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
    names = [checked_name(key, name) for key in keys]
    require_unique(names, name)
    columns = [column_of([row.get(key) for row in items], key, name) for key in keys]
    return pa.table(columns, names=names)


def _from_columns(columns: Mapping[Any, Any], name: str) -> pa.Table:
    """Returns the table of a dict of columns."""
    names = [checked_name(key, name) for key in columns]
    require_unique(names, name)
    arrays = dict(zip(names, (any_column(*item, name) for item in columns.items()), strict=True))
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


def _from_arrow(data: Any, name: str, argument: str) -> pa.Table:
    """Returns the table of an object that speaks Arrow, without the index of pandas."""
    is_pandas = hasattr(data, "iloc") and hasattr(data, "columns")
    is_arrow = hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__")
    # A stream of datasets has formats too, but no length.
    is_dataset = all(hasattr(data, part) for part in ("with_format", "__getitem__", "__len__"))
    if not is_arrow and not is_dataset:
        raise _unknown_kind(data, name, argument)
    if is_pandas:
        _refuse_mixed_pandas(data, name)
    try:
        # with_format applies the selection of a datasets.Dataset.
        table = pa.table(data) if is_arrow else data.with_format("arrow")[:]
    except Exception as error:  # the code of another library, which raises what it likes
        if is_pandas:
            _refuse_odd_values(data, name)
        raise DataError(
            "the object is not a table that Arrow can hold",
            place=name,
            found=f"{type(error).__name__}: {clip(str(error), 200)}",
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
            refuse_mixed(_without_nan(data[column]), column, name)


def _refuse_odd_values(data: Any, name: str) -> None:
    """Raises for the first value of a pandas column that Arrow cannot hold."""
    for column in data.columns:
        if data[column].dtype == object:
            column_of(_without_nan(data[column]), column, name)


def _without_nan(values: Iterable[Any]) -> list[Any]:
    """Returns the values with None for NaN, by which pandas says that a value is missing."""
    return [None if is_missing(value) else value for value in values]


def _unknown_kind(data: Any, name: str, argument: str) -> DataError:
    return DataError(
        f"objects of type {_type_name(data)} cannot be read",
        place=name,
        found=clip(data),
        expected="; ".join(KINDS),
        fix=_fix_of_kind(data, argument),
    )


def _fix_of_kind(data: Any, argument: str) -> str:
    if isinstance(data, type | str | bytes):
        return "pass one of these"
    if hasattr(data, "tolist"):
        return f"pass named columns, or a list of pairs: {argument}.tolist()"
    if hasattr(data, "collect"):  # a lazy frame
        return f"collect it first: {argument}.collect()"
    if hasattr(data, "__iter__"):
        return f"collect the rows into a list first: list({argument})"
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return f"collect the rows first: [{argument}[i] for i in range(len({argument}))]"
    return "convert it to one of these"


def _type_name(data: object) -> str:
    kind = type(data)
    is_builtin = kind.__module__ == "builtins"
    return kind.__qualname__ if is_builtin else f"{kind.__module__}.{kind.__qualname__}"


def _refuse_empty(rows: int, name: str) -> None:
    if not rows:
        raise DataError(
            "there are no rows", place=name, expected="at least one row", fix="pass data"
        )
