"""A token dataset as plain arrays and back: what is saved, pickled and sent to other ranks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastft.data.columns import column_arrays, column_from_arrays
from fastft.data.type_ids import TypeIds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastft.data.columns import Column

Array = NDArray[Any]


def to_arrays(
    flat: Mapping[str, Array | None], columns: Mapping[str, Column], metadata: Mapping[str, Any]
) -> dict[str, Array]:
    """Gives what `from_arrays` needs; nothing is copied.

    Args:
        flat: Ids, row offsets, type ids; what is None is left out.
        columns: The columns by name.
        metadata: Further arguments of the dataset, which JSON can hold.
    """
    arrays = {name: array for name, array in flat.items() if array is not None}
    names = {"columns": list(columns), **metadata}
    return {**arrays, **column_arrays(columns), "metadata": as_bytes(names)}


def from_arrays(arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Gives the arguments of the dataset that `to_arrays` was given.

    Raises:
        KeyError: An array is missing.
        ValueError: The metadata is no JSON.
    """
    metadata = json.loads(arrays["metadata"].tobytes())
    names = metadata.pop("columns")
    return {
        "ids": arrays["ids"],
        "row_offsets": arrays["row_offsets"],
        "type_ids": TypeIds(arrays.get("second_segment_starts"), arrays.get("token_type_ids")),
        "columns": {name: column_from_arrays(arrays, name) for name in names},
        **metadata,
    }


def as_bytes(metadata: Mapping[str, Any]) -> Array:
    """JSON as an array, uint8 (N,)."""
    return np.frombuffer(json.dumps(metadata).encode(), np.uint8)
