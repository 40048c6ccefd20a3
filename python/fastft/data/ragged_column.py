"""A column whose rows differ in length: target sequences, labels of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.errors import ColumnError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class RaggedColumn:
    """Whole numbers, flat in memory, a run of them for every row.

    Args:
        values: int32 (N,): the values of all rows. Token ids fit, and so does -100.
        offsets: int64 (rows + 1,): where each row begins.

    Raises:
        ColumnError: The offsets do not cut the values into rows, or the values are not int32.

    Example:
        >>> column = RaggedColumn.from_rows([[5, 6], [], [7]])
        >>> column[0].tolist(), len(column)
        ([5, 6], 3)
    """

    values: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.values.dtype != np.int32 or self.offsets.dtype != np.int64:
            raise _broken("types", f"{self.values.dtype} and {self.offsets.dtype}")
        steps = np.diff(self.offsets)
        if not self.offsets.size or self.offsets[0] or self.offsets[-1] != len(self.values):
            raise _broken("ends", f"offsets for {len(self.values)} values: {self.offsets[:3]}...")
        if steps.size and steps.min() < 0:
            raise _broken("order", f"a row that ends before it begins: row {steps.argmin()}")
        self.values.flags.writeable = False
        self.offsets.flags.writeable = False

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[int] | NDArray[Any]]) -> RaggedColumn:
        """Makes a column of a sequence of whole numbers a row."""
        arrays = [np.asarray(row, dtype=np.int32).reshape(-1) for row in rows]
        values = np.concatenate(arrays) if arrays else np.empty(0, np.int32)
        offsets = np.zeros(len(arrays) + 1, np.int64)
        np.cumsum([len(array) for array in arrays], out=offsets[1:])
        return cls(values, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> NDArray[np.int32]:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """int64 (rows,): how many values each row has."""
        return np.diff(self.offsets)


def _broken(what: str, found: str) -> ColumnError:
    return ColumnError(
        f"a column of rows that differ in length has wrong {what}",
        found=found,
        expected="int32 values and int64 offsets from 0 to their number, never falling",
    )
