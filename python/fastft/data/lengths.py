"""Numbers of tokens a row, whatever they were given as, and limits to them."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastft import _fastft
from fastft.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = np.iinfo(np.uint32).max
"""The greatest length of a row."""

HASHED_BYTES = 2**16
"""Bytes of lengths that go whole into their hash; a checksum takes a tenth of the time."""


def checked_lengths(given: Any) -> NDArray[np.uint32]:
    """Gives the length of each row as an array that nobody else changes.

    Args:
        given: Whole numbers (a list, an array of any integer type, a column), or a dataset that
            knows its `lengths`.

    Returns:
        uint32 (rows,)

    Raises:
        DataError: These are no lengths.

    Example:
        >>> checked_lengths([3, 0, 12])
        array([ 3,  0, 12], dtype=uint32)
    """
    values = getattr(given, "lengths", given)
    if isinstance(values, (str, bytes)) or not (
        isinstance(values, Sequence) or hasattr(values, "__array__")
    ):
        raise _no_lengths(f"{type(given).__name__}, which has no lengths")
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, OverflowError) as error:  # rows that differ in length
        raise _no_lengths(str(error)) from error
    if array.ndim != 1:
        raise _no_lengths(f"values of shape {array.shape}")
    if len(array) != len(given):
        raise _no_lengths(f"{len(array)} lengths of {len(given)} rows")
    if array.size == 0:
        return np.empty(0, np.uint32)
    if array.dtype.kind not in "iu":
        raise _no_lengths(_first_oddity(array))
    if array.dtype != np.uint32:
        _check_range(array)
    return np.array(array, np.uint32, order="C", copy=None if values is not given else True)


def at_least_one(value: Any, name: str) -> int:
    """Gives the value as an int.

    Raises:
        ConfigurationError: It is no whole number, or below 1.
    """
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ConfigurationError(f"{name} is not a number of at least 1", found=repr(value))
    return number


def too_long(lengths: NDArray[np.uint32], limit: int, name: str, fix: str) -> ConfigurationError:
    """The error for rows that are longer than a limit; it names the first one."""
    rows = np.flatnonzero(lengths > limit)
    length = lengths[rows[0]]
    more = f"; {len(rows)} of {len(lengths)} rows are too long" if len(rows) > 1 else ""
    return ConfigurationError(
        f"a row is longer than {name}",
        place=f"row {rows[0]}",
        found=f"{length} tokens{more}",
        expected=f"at most {limit} tokens",
        fix=f"{name}={lengths.max()}, or {fix}",
    )


def _check_range(array: NDArray[Any]) -> None:
    for row, is_wrong in ((array.argmin(), array.min() < 0), (array.argmax(), array.max() > MOST)):
        if is_wrong:
            raise _no_lengths(f"{array[row]} in row {row}")


def _first_oddity(array: NDArray[Any]) -> str:
    for row, value in enumerate(array.tolist()):
        if isinstance(value, bool) or not isinstance(value, int):
            return f"{str(value)[:40]} ({type(value).__name__}) in row {row}"
    return f"values of type {array.dtype}"


def _no_lengths(found: str) -> DataError:
    return DataError(
        "these are no lengths of rows",
        place="lengths",
        found=found,
        expected=f"one whole number from 0 to {MOST} a row, or a TokenDataset",
        fix="pass the number of tokens of each row: [len(ids) for ids in input_ids]",
    )


def lengths_digest(lengths: NDArray[np.uint32]) -> bytes:
    """Gives a hash of lengths, 32 bytes: of the first ones, and of the checksums of all."""
    values = np.ascontiguousarray(lengths, "<u4").view(np.uint8)
    digest = hashlib.blake2b(values[:HASHED_BYTES].data, digest_size=32)
    digest.update(f"{len(lengths)} ".encode())
    digest.update(_fastft.block_checksums(values).astype("<u4").data)
    return digest.digest()
