"""Tokens that Megatron-LM's tools have written: a `.bin` of ids, and an `.idx` of where rows lie.

The ids are mapped, not read. The layout is that of Megatron-Core's `IndexedDataset`, version 1: a
magic of nine bytes, the version, a code for the type of the ids, the numbers of sequences and of
document ends, then for each sequence its length (int32) and the byte at which it begins (int64).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.data.token_ids import unsigned_ids
from fastft.errors import DataError, DataNotFoundError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = b"MMIDIDX\x00\x00"
HEADER = struct.Struct("<9sQBQQ")
TYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 6: "<f8", 7: "<f4", 8: "<u2"}
"""The type of the ids by its code; only the whole numbers can be token ids."""


def read_megatron(prefix: str | Path) -> tuple[NDArray[Any], NDArray[np.uint64]]:
    """Gives the ids of all rows and where each begins.

    Args:
        prefix: The path of both files, without `.bin` and `.idx`.

    Returns:
        Ids uint16 or uint32 (N,), mapped where their type and order allow, and offsets uint64
        (rows + 1,).

    Raises:
        DataNotFoundError: One of the files is not there.
        DataError: They are no such files or do not fit together, the ids are no whole numbers, or
            one is out of range.
    """
    index, data = (Path(f"{prefix}.{suffix}") for suffix in ("idx", "bin"))
    for path in (index, data):
        if not path.is_file():
            raise DataNotFoundError("there is no such file", place=str(path))
    dtype, lengths, starts = _read_index(index)
    num_ids, rest = divmod(data.stat().st_size, dtype.itemsize)
    ends = starts + lengths
    if rest or (len(ends) and (int(starts.min()) < 0 or int(ends.max()) > num_ids)):
        raise DataError(
            "the index names ids that are not there",
            place=str(data),
            found=f"{num_ids} ids of {dtype.itemsize} bytes",
            expected=f"at least {int(ends.max(initial=0))}",
        )
    ids = np.memmap(data, dtype, "r") if num_ids else np.empty(0, dtype)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    if not np.array_equal(starts, offsets[:-1]):  # rows that lie apart are laid end to end
        places = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        ids = np.asarray(ids[places])
    return unsigned_ids(ids[: offsets[-1]], str(data)), offsets.astype(np.uint64)


def _read_index(path: Path) -> tuple[np.dtype[Any], NDArray[np.int64], NDArray[np.int64]]:
    """The type of the ids, and of each row its length and where it begins, both in ids."""
    content = path.read_bytes()
    if len(content) < HEADER.size or not content.startswith(MAGIC):
        raise _damaged(path, f"it begins with {content[:9]!r}", f"it begins with {MAGIC!r}")
    _, version, code, num_rows, _ = HEADER.unpack_from(content)
    if version != 1 or code not in TYPES:
        raise _damaged(path, f"version {version}, type {code}", "version 1, a type from 1 to 8")
    needed = HEADER.size + num_rows * 12
    if len(content) < needed:
        raise _damaged(path, f"{len(content)} bytes", f"{needed} bytes for {num_rows} rows")
    dtype = np.dtype(TYPES[code])
    lengths = np.frombuffer(content, "<i4", num_rows, HEADER.size).astype(np.int64)
    pointers = np.frombuffer(content, "<i8", num_rows, HEADER.size + num_rows * 4)
    starts, odd = np.divmod(pointers, dtype.itemsize)
    if (lengths < 0).any() or odd.any():
        row = int(np.argmax((lengths < 0) | (odd != 0)))
        raise _damaged(
            path,
            f"row {row}: {lengths[row]} ids at byte {pointers[row]}",
            f"lengths of 0 and more, at multiples of {dtype.itemsize}",
        )
    return dtype, lengths, starts


def _damaged(path: Path, found: str, expected: str) -> DataError:
    return DataError(
        "this is no index of Megatron", place=str(path), found=found, expected=expected
    )
