"""Lists of row numbers that lie flat in memory: what a plan of batches and one of bins share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHOWN_LISTS, SHOWN_ENTRIES = 3, 12


class RepeatedBatch(list[int]):
    """A batch that fills a last step: it repeats an earlier one and must have no weight."""


class IndexLists(Sequence[list[int]]):
    """A sequence of lists of row numbers, each made when it is asked for."""

    @abstractmethod
    def _list(self, index: int) -> list[int]:
        """Gives list `index`, counted from the end when negative."""

    @overload
    def __getitem__(self, index: int) -> list[int]: ...
    @overload
    def __getitem__(self, index: slice) -> list[list[int]]: ...
    def __getitem__(self, index: int | slice) -> list[int] | list[list[int]]:
        if isinstance(index, slice):
            return [self._list(position) for position in range(*index.indices(len(self)))]
        return self._list(index)


def bounds(offsets: NDArray[np.int64], index: int, name: str) -> tuple[int, int, int]:
    """Gives the position of a list, counted from the end when negative, and where it lies.

    Raises:
        IndexError: There is no such list.

    Example:
        >>> import numpy as np
        >>> bounds(np.array([0, 2, 5]), -1, "batch")
        (1, 2, 5)
    """
    count = len(offsets) - 1
    position = index + count if index < 0 else index
    if not 0 <= position < count:
        plural = "batches" if name == "batch" else f"{name}s"
        raise IndexError(f"{name} {index} of a plan of {count} {plural}")
    start, end = offsets[position : position + 2].tolist()
    return position, start, end


def shown(lists: Sequence[list[int]]) -> list[str]:
    """The first lists, a line each, for a `repr`."""
    lines = [f"  {at}: {_shortened(lists[at])}" for at in range(min(SHOWN_LISTS, len(lists)))]
    return [*lines, "  ..."] if len(lists) > SHOWN_LISTS else lines


def _shortened(entries: list[int]) -> str:
    if len(entries) <= SHOWN_ENTRIES:
        return repr(list(entries))
    first = ", ".join(map(str, entries[:SHOWN_ENTRIES]))
    return f"[{first}, ... {len(entries)} in all]"
