"""Hidden states of the rows of a data set: kept in memory, or in a folder of the cache.

They lie in the order in which they were made (longest rows first), flat, so that a file is written
as one stream. Where a row begins follows from the lengths alone. Half precision has no type of its
own in numpy and lies there as uint16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastft.data.token_shards import ArrayWriter, open_shards, write_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from fastft.data.token_shards import Shards

DTYPES = {str(dtype): dtype for dtype in (torch.float32, torch.float16, torch.bfloat16)}
"""The types of states that can be kept, by name."""


@dataclass(frozen=True)
class RowStates:
    """States of all rows.

    Attributes:
        values: float32 or uint16 (N, H): the states, row after row in the order of `fill_order`.
        starts: int64 (rows,): where each row begins.
        lengths: int64 (rows,): how many states each row has.
        dtype: The type of the states.
    """

    values: NDArray[Any]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    dtype: torch.dtype

    def of(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """Gives a copy of the states of some rows, (N, H), one row after the other."""
        starts, lengths = self.starts[rows], self.lengths[rows]
        ends = np.cumsum(lengths)
        index = np.arange(ends[-1] if len(ends) else 0) + np.repeat(
            starts - ends + lengths, lengths
        )
        return torch.from_numpy(np.take(self.values, index, axis=0)).view(self.dtype)

    @property
    def num_bytes(self) -> int:
        """What they take."""
        return self.values.nbytes


def fill_order(lengths: NDArray[Any]) -> NDArray[np.int64]:
    """The order in which rows are run: the longest first, so that there is hardly any padding."""
    return np.argsort(-lengths.astype(np.int64), kind="stable")


def fill_batches(lengths: NDArray[Any], max_tokens: int) -> Iterator[NDArray[np.int64]]:
    """Cuts the rows in `fill_order` into batches of at most `max_tokens`, padding included."""
    order = fill_order(lengths)
    start = 0
    while start < len(order):
        size = max(1, max_tokens // max(1, int(lengths[order[start]])))
        yield order[start : start + size]
        start += size


def starts_of(order: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Gives where each row begins, when rows of these lengths lie in this order."""
    starts = np.empty(len(order), np.int64)
    starts[order] = np.cumsum(lengths[order]) - lengths[order]
    return starts


def as_array(states: torch.Tensor) -> NDArray[Any]:
    """Gives states as an array that files and numpy know."""
    states = states.detach().cpu().contiguous()
    return (states if states.dtype == torch.float32 else states.view(torch.uint16)).numpy()


class InMemory:
    """Takes states as they are made, and keeps them.

    Args:
        totals: How many there will be, by name.
    """

    def __init__(self, totals: Mapping[str, int]) -> None:
        self._totals = totals
        self._written = dict.fromkeys(totals, 0)
        self.arrays: dict[str, NDArray[Any]] = {}
        self.dtypes: dict[str, str] = {}

    def append(self, name: str, states: torch.Tensor) -> None:
        """Adds states (N, H)."""
        array = as_array(states)
        if name not in self.arrays:
            self.arrays[name] = np.empty((self._totals[name], array.shape[1]), array.dtype)
            self.dtypes[name] = str(states.dtype)
        start = self._written[name]
        self.arrays[name][start : start + len(array)] = array
        self._written[name] += len(array)


class OnDisk:
    """Takes states as they are made, and writes them to a folder.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, ArrayWriter] = {}
        self._shapes: dict[str, tuple[int, str]] = {}

    def append(self, name: str, states: torch.Tensor) -> None:
        """Adds states (N, H).

        Raises:
            OSError: The disk is full, or cannot be written to.
        """
        array = as_array(states)
        if name not in self._writers:
            self._writers[name] = ArrayWriter(self._folder, name, array.dtype)
            self._shapes[name] = array.shape[1], str(states.dtype)
        self._writers[name].append(array.reshape(-1))

    def finish(self) -> None:
        """Brings everything to the disk."""
        arrays = {name: writer.finish() for name, writer in self._writers.items()}
        write_manifest(self._folder, arrays, {"shapes": self._shapes})

    def close(self) -> None:
        """Ends early."""
        for writer in self._writers.values():
            writer.close()


def open_states(folder: Path) -> Shards:
    """Maps the states in a folder; every block of them is compared with its checksum.

    Raises:
        DamagedFileError: Something in it is not what was written.
    """
    return open_shards(folder, checked_later=None)


def states_in(shards: Shards) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Gives the arrays (N, H) of a folder, and the type of each, by name."""
    shapes = shards.metadata["shapes"]
    arrays = {name: shards.arrays[name].reshape(-1, shapes[name][0]) for name in shapes}
    return arrays, {name: shape[1] for name, shape in shapes.items()}
