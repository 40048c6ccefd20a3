"""Where rows come from: the place of every row in a file or in an object of the user.

A table that was read keeps its rows in the order of the files; `Origin` turns a row number back
into `train.csv, line 12`. Lines are looked up only when a message needs them.

Invariant: lines are counted from 1, as editors count them; rows of parquet files and of Python
objects from 0, as Python counts them.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


class Rows(Protocol):
    """A run of rows that one file or one object gave."""

    @property
    def count(self) -> int:
        """The number of rows."""

    def place(self, row: int) -> str:
        """Returns the place of a row of this run, in words."""


@dataclass(frozen=True)
class LineRows:
    """The rows of a text file.

    Args:
        path: The file.
        count: The number of its rows.
        lines: Gives the line of every row, or None where the second pass cannot tell.
    """

    path: Path
    count: int
    lines: Callable[[], Sequence[int] | NDArray[np.int64] | None]

    def place(self, row: int) -> str:
        """Returns `data/train.csv, line 12`."""
        lines = self.lines()
        if lines is None or len(lines) != self.count:
            return f"{self.path}, row {row}"
        return f"{self.path}, line {lines[row]}"


@dataclass(frozen=True)
class FileRows:
    """The rows of a file that has no lines (parquet)."""

    path: Path
    count: int

    def place(self, row: int) -> str:
        """Returns `data/train.parquet, row 11`."""
        return f"{self.path}, row {row}"


@dataclass(frozen=True)
class ExampleFiles:
    """Rows that are a file each."""

    paths: tuple[Path, ...]

    @property
    def count(self) -> int:
        """The number of rows."""
        return len(self.paths)

    def place(self, row: int) -> str:
        """Returns `data/train/pos/7.txt`."""
        return str(self.paths[row])


@dataclass(frozen=True)
class ObjectRows:
    """The rows of a Python object.

    Args:
        name: What the object is and where it was given: `the list given as data`.
        count: The number of its rows.
    """

    name: str
    count: int

    def place(self, row: int) -> str:
        """Returns `row 3 of the list given as data`."""
        return f"row {row} of {self.name}"


@dataclass(frozen=True)
class Origin:
    """Where the rows of a split come from.

    Args:
        runs: The files or objects in the order of their rows.
        kept: The original number of every row that is left after a cut; None when all are.

    Example:
        >>> Origin((ObjectRows("the list given as data", 5),)).place(3)
        'row 3 of the list given as data'
    """

    runs: tuple[Rows, ...]
    kept: NDArray[np.int64] | None = None
    _ends: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ends", tuple(accumulate(run.count for run in self.runs)))

    def place(self, row: int) -> str:
        """Returns the place of a row, in words.

        Args:
            row: The row in the table at hand, counted from 0.
        """
        original = row if self.kept is None else int(self.kept[row])
        run = bisect_right(self._ends, original)
        before = self._ends[run - 1] if run else 0
        return self.runs[run].place(original - before)

    def take(self, rows: NDArray[np.int64]) -> Origin:
        """Returns the origin of some of the rows, in the order given."""
        return Origin(self.runs, rows if self.kept is None else self.kept[rows])
