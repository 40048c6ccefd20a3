"""Texts of any kind as one Arrow column, checked, and its buffers as numpy views.

Arrow strings are taken as they are; a list of `str` is copied once. What cannot be a text is named
by its row: a null, another type, a lone surrogate, bytes that are not UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fastft import _fastft
from fastft.errors import ColumnError, DataError

Texts: TypeAlias = Sequence[str] | pa.Array | pa.ChunkedArray
"""What is taken as a column of texts."""

Buffers: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""All bytes (N,), and the offset at which each row begins (rows + 1,)."""


def as_arrow(texts: Texts, *, name: str = "texts") -> Any:
    """Gives the texts as an Arrow array of strings without nulls, chunked if it came so.

    Args:
        texts: Strings, or an Arrow array of any string type.
        name: What messages call the column.

    Raises:
        DataError: A row is null, not a string, or not valid Unicode.
        ColumnError: The Arrow array is not of a string type.
    """
    if isinstance(texts, (str, bytes)):
        raise DataError(
            "one text was given where a list of texts belongs", place=name, fix=f"{name}=[text]"
        )
    if isinstance(texts, (pa.Array, pa.ChunkedArray)):
        return _checked(_as_strings(texts, name), name)
    return _from_python(texts, name)


def buffers(array: Any) -> Buffers:
    """Gives the buffers of an Arrow string array; only 32-bit offsets are copied.

    Args:
        array: What `as_arrow` gave.

    Returns:
        The bytes uint8 (N,) and the offsets int64 (rows + 1,).
    """
    if isinstance(array, pa.ChunkedArray):
        array = _one_chunk(array)
    _, offsets, data = array.buffers()
    bytes_ = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    if offsets is None:  # an array of no rows may come without offsets
        return bytes_, np.zeros(1, np.int64)
    wide = pa.types.is_large_string(array.type)
    every = np.frombuffer(offsets, np.int64 if wide else np.int32)
    own = every[array.offset : array.offset + len(array) + 1]
    return bytes_, own.astype(np.int64, copy=False)


def _one_chunk(array: Any) -> Any:
    if array.num_chunks == 1:
        return array.chunk(0)
    # 64-bit offsets, because the chunks together may hold more than 2 GB.
    return pa.concat_arrays(
        [pa.array([], pa.large_string()), *array.cast(pa.large_string()).chunks]
    )


def _as_strings(array: Any, name: str) -> Any:
    type_ = array.type
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return array
    values = type_.value_type if pa.types.is_dictionary(type_) else type_
    is_text = pa.types.is_string(values) or pa.types.is_large_string(values)
    if not (is_text or pa.types.is_string_view(values) or pa.types.is_null(values)):
        raise ColumnError(
            "a column of texts is not text",
            place=name,
            found=str(type_),
            expected="string or large_string",
            fix="cast the column to string, or name another column",
        )
    return array.cast(pa.large_string())


def _checked(array: Any, name: str) -> Any:
    if array.null_count:
        nulls = (
            array.is_null().to_numpy(zero_copy_only=False)
            if isinstance(array, pa.Array)
            else array.is_null().to_numpy()
        )
        raise _not_a_text(name, int(np.argmax(nulls)), "null")
    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        raise _invalid_utf8(array, name, error) from None
    return array


def _invalid_utf8(array: Any, name: str, error: Exception) -> DataError:
    chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
    row = 0
    for chunk in chunks:
        for value in chunk.cast(pa.large_binary()):
            try:
                value.as_py().decode()
            except UnicodeDecodeError as fault:
                place = f"{name}, row {row}, byte {fault.start}"
                return DataError("the text is not valid UTF-8", place=place, found=fault.reason)
            row += 1
    return DataError(f"the Arrow array is damaged: {error}", place=name)


def _from_python(texts: Iterable[Any], name: str) -> Any:
    rows = texts if isinstance(texts, list) else list(texts)
    try:
        data, offsets = _fastft.text_buffers(rows)
    except TypeError:
        raise _first_not_a_text(rows, name) from None
    except UnicodeEncodeError:
        raise _lone_surrogate(rows, name) from None
    arrow_buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_string(), len(rows), arrow_buffers, null_count=0)


def _first_not_a_text(rows: list[Any], name: str) -> DataError:
    row, text = next((row, text) for row, text in enumerate(rows) if not isinstance(text, str))
    return _not_a_text(name, row, repr(text) if text is None else type(text).__name__)


def _lone_surrogate(rows: list[str], name: str) -> DataError:
    for row, text in enumerate(rows):
        try:
            text.encode()
        except UnicodeEncodeError as fault:
            return DataError(
                "the text holds a lone surrogate, which UTF-8 cannot express",
                place=f"{name}, row {row}, character {fault.start}",
                found=repr(text[fault.start : fault.end]),
                fix="text.encode(errors='replace').decode(), or read the file as UTF-8",
            )
    return DataError("the texts cannot be expressed in UTF-8", place=name)


def _not_a_text(name: str, row: int, found: str) -> DataError:
    return DataError(
        "a text is missing or not a string",
        place=f"{name}, row {row}",
        found=found,
        expected="str",
        fix="drop the row or fill it with a string",
    )
