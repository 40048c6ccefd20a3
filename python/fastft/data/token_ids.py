"""Token ids of others as unsigned numbers of 16 or 32 bits, in place where they have as many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def unsigned_ids(ids: NDArray[Any], place: str) -> NDArray[Any]:
    """Gives the ids as uint16 or uint32; those of 8 or 64 bits are copied.

    Args:
        ids: Whole numbers (N,).
        place: Where they stand, for an error.

    Raises:
        DataError: They are no whole numbers, or one is out of range.

    Example:
        >>> unsigned_ids(np.array([7, 70_000]), "here").dtype
        dtype('uint32')
    """
    if ids.dtype.kind not in "iu":
        raise DataError("token ids are whole numbers", place=place, found=str(ids.dtype))
    low, high = int(ids.min(initial=0)), int(ids.max(initial=0))
    if low < 0 or high >= 2**32:
        raise DataError(
            "a token id is out of range",
            place=place,
            found=str(low if low < 0 else high),
            expected="0 to 4294967295",
        )
    if not ids.dtype.isnative:
        ids = ids.astype(ids.dtype.newbyteorder("="))
    if ids.dtype.itemsize in (2, 4):
        return ids.view(np.uint16 if ids.dtype.itemsize == 2 else np.uint32)
    return ids.astype(np.uint16 if high < 2**16 else np.uint32)
