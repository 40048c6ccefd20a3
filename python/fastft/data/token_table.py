"""Tables of rows that are tokens already, such as `datasets.map` leaves: their arrays, in place.

A column of Arrow lists is a flat array and offsets, just what a token dataset is made of. Ids of
32 bits stay where they are (in memory, or in the file that `datasets` maps); ids of 64 bits and
columns of several chunks are copied once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fastft.data.ragged_column import RaggedColumn
from fastft.data.token_ids import unsigned_ids
from fastft.data.type_ids import TypeIds
from fastft.errors import ColumnError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODEL_INPUTS = ("input_ids", "token_type_ids", "attention_mask")
"""The keys that a tokenizer call gives, in its order."""


def as_table(data: Any) -> pa.Table:
    """Gives the table of a `datasets.Dataset`, or of anything else that speaks Arrow.

    A selection of rows is applied, and one of columns (`set_format(columns=...)`).

    Raises:
        DataError: It speaks no Arrow.
    """
    if isinstance(data, pa.Table):
        return data
    if hasattr(data, "with_format") and hasattr(data, "_indices"):  # datasets.Dataset
        return data.with_format("arrow", columns=data.format["columns"])[:]
    if hasattr(data, "__arrow_c_stream__"):
        return pa.table(data)
    raise DataError(
        "this is no table",
        found=type(data).__name__,
        expected="a datasets.Dataset, a pyarrow Table, or another object that speaks Arrow",
    )


def tokens_of_table(table: pa.Table) -> dict[str, Any]:
    """Gives what `TokenDataset` is made of: ids, offsets, type ids, columns, model inputs.

    Raises:
        ColumnError: There are no `input_ids`, or a column is not of numbers.
        DataError: A row is missing, or holds padding.
    """
    if "input_ids" not in table.column_names:
        raise ColumnError(
            "a table of tokens has a column input_ids",
            found=", ".join(table.column_names) or "no columns",
            fix="tokenize the texts first, or use TokenDataset.from_texts",
        )
    values, offsets = _lists(table, "input_ids")
    columns = {
        name: _column(table, name) for name in table.column_names if name not in MODEL_INPUTS
    }
    if "attention_mask" in table.column_names:
        _refuse_padding(*_lists(table, "attention_mask"), offsets)
    type_ids = None
    if "token_type_ids" in table.column_names:
        type_ids = _type_ids(*_lists(table, "token_type_ids"), offsets)
    return {
        "ids": unsigned_ids(values, "column input_ids"),
        "row_offsets": offsets.astype(np.uint64),
        "type_ids": type_ids,
        "columns": columns,
        "model_inputs": [name for name in MODEL_INPUTS if name in table.column_names],
    }


def tokens_of_pair(ids: Any, row_offsets: Any) -> dict[str, Any]:
    """Gives what `TokenDataset` is made of, for a flat array and where its rows begin.

    Raises:
        DataError: They are no flat arrays of whole numbers, or an id is out of range.
    """
    offsets = _flat(row_offsets, "row_offsets")
    if offsets.dtype.kind not in "iu" or (offsets.size and int(offsets.min()) < 0):
        found = str(offsets.dtype) if offsets.dtype.kind not in "iu" else str(offsets.min())
        raise DataError("rows begin at whole numbers from 0", place="row_offsets", found=found)
    return {
        "ids": unsigned_ids(_flat(ids, "ids"), "ids"),
        "row_offsets": offsets.astype(np.uint64, copy=False),
        "model_inputs": ("input_ids", "attention_mask"),
    }


def _flat(values: Any, name: str) -> NDArray[Any]:
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:  # rows of different lengths, a tensor on a device
        raise _not_flat(name, str(error)) from error
    if array.ndim != 1:
        raise _not_flat(name, f"an array of shape {array.shape}")
    return array.astype(np.int64) if array.size == 0 and array.dtype.kind == "f" else array


def _not_flat(name: str, found: str) -> DataError:
    return DataError(
        "the tokens of all rows lie in one flat array",
        place=name,
        found=found,
        expected="ids (N,), and row_offsets (rows + 1,) that say where each row begins",
        fix="np.concatenate the rows, and np.cumsum their lengths",
    )


def _refuse_padding(
    mask: NDArray[Any], mask_offsets: NDArray[np.int64], offsets: NDArray[np.int64]
) -> None:
    _refuse_other_lengths("attention_mask", mask_offsets, offsets)
    hidden = np.flatnonzero(mask != 1)
    if hidden.size:
        row = int(np.searchsorted(offsets, hidden[0], side="right")) - 1
        raise DataError(
            "a row holds padding, which belongs into batches",
            place=f"column attention_mask, row {row}",
            found=f"{mask[hidden[0]]} at token {int(hidden[0] - offsets[row])}",
            expected="1 at every token",
            fix="tokenize with padding=False",
        )


def _type_ids(
    values: NDArray[Any], value_offsets: NDArray[np.int64], offsets: NDArray[np.int64]
) -> TypeIds | None:
    _refuse_other_lengths("token_type_ids", value_offsets, offsets)
    if not values.any():
        return None
    if int(values.min()) < 0 or int(values.max()) > 255:
        raise DataError(
            "a token type id is out of range",
            place="column token_type_ids",
            found=f"{values.min()} to {values.max()}",
            expected="0 to 255",
        )
    return TypeIds(flat=values.astype(np.uint8))


def _refuse_other_lengths(name: str, found: NDArray[np.int64], expected: NDArray[np.int64]) -> None:
    different = np.flatnonzero(np.diff(found) != np.diff(expected))
    if different.size:
        row = int(different[0])
        raise DataError(
            f"{name} and input_ids differ in length",
            place=f"row {row}",
            found=f"{np.diff(found)[row]} and {np.diff(expected)[row]} entries",
        )


def _column(table: pa.Table, name: str) -> Any:
    """A column beside the tokens: numbers, or runs of whole numbers."""
    type_ = table.schema.field(name).type
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        values, offsets = _lists(table, name)
        low, high = int(values.min(initial=0)), int(values.max(initial=0))
        if low < -(2**31) or high >= 2**31:
            raise _no_numbers(name, f"a list with {low if low < -(2**31) else high}")
        return RaggedColumn(values.astype(np.int32), offsets)
    if not (
        pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_boolean(type_)
    ):
        raise _no_numbers(name, str(type_))
    _refuse_nulls(table.column(name), name)
    return table.column(name).to_numpy()


def _lists(table: pa.Table, name: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The values of a column of lists, and int64 offsets (rows + 1,) that begin at 0."""
    type_ = table.schema.field(name).type
    is_list = pa.types.is_list(type_) or pa.types.is_large_list(type_)
    if not (is_list and pa.types.is_integer(type_.value_type)):
        raise _no_numbers(name, str(type_))
    column = table.column(name)
    _refuse_nulls(column, name)
    if column.num_chunks == 0:
        return np.empty(0, np.int32), np.zeros(1, np.int64)
    array = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    offsets = array.offsets.to_numpy().astype(np.int64)
    values = array.values.slice(offsets[0], offsets[-1] - offsets[0])
    if values.null_count:
        raise DataError("a list holds null", place=f"column {name}", expected="numbers")
    return values.to_numpy(), offsets - offsets[0]


def _refuse_nulls(column: pa.ChunkedArray, name: str) -> None:
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy()))
        raise DataError("a row is missing", place=f"column {name}, row {row}", found="null")


def _no_numbers(name: str, found: str) -> ColumnError:
    return ColumnError(
        "a column holds no numbers",
        place=f"column {name!r}",
        found=found,
        expected="numbers, or lists of whole numbers",
        fix=f"leave it out: dataset.remove_columns([{name!r}])",
    )
