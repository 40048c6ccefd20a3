"""A batch that has not been made yet: a dataset and the rows wanted from it.

torch's loader asks a dataset for the examples of a batch and hands them to the collator. Our
dataset answers with this reference, our collator gathers the rows in Rust, and no example ever
exists as a Python object. To everyone else the reference is a list of dicts: the first look at its
elements makes them, and from then on it is an ordinary list that may be changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.data.index_lists import RepeatedBatch
from fastft.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from fastft.data.token_dataset import TokenDataset


class BatchReference(list[dict[str, Any]]):
    """The rows `indices` of `dataset`, as a list whose elements are made when looked at.

    Args:
        dataset: Where the rows lie.
        indices: int64 (B,): which rows; negative ones count from the end.

    Raises:
        IndexError: A row does not exist.
    """

    dataset: TokenDataset
    indices: NDArray[np.int64]
    """int64 (B,): the rows, none of them negative."""
    rows: NDArray[np.int64]
    """int64 (B,): the numbers by which they draw what is random: the same, unless the dataset holds
    changed copies of rows of another."""
    longest: int
    """The length of the longest of them; zero when there is none."""
    has_weight: bool
    """False for a `RepeatedBatch`, which only fills a step."""
    is_untouched: bool
    """Whether no element was looked at yet, so that dataset and indices still say everything."""

    def __init__(self, dataset: TokenDataset, indices: Sequence[int] | NDArray[np.int64]) -> None:
        super().__init__()
        self.dataset = dataset
        self.indices, self.longest = _checked_indices(indices, dataset)
        self.rows = self.indices
        self.has_weight = not isinstance(indices, RepeatedBatch)
        self.is_untouched = True

    def __len__(self) -> int:
        return len(self.indices) if self.is_untouched else super().__len__()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._make_elements()
        return super().__iter__()

    def __repr__(self) -> str:
        state = "not made yet" if self.is_untouched else "made"
        return f"BatchReference({len(self)} examples, {state})"

    def __reduce__(self) -> tuple[Callable[..., list[dict[str, Any]]], tuple[Any, ...]]:
        if self.is_untouched:
            return BatchReference, (self.dataset, self.indices)
        return list, (list(self),)

    def _make_elements(self) -> None:
        if self.is_untouched:
            self.is_untouched = False
            super().extend(self.dataset[int(index)] for index in self.indices)


def _after_making(name: str) -> Callable[..., Any]:
    """The method `name` of a list, preceded by the making of the elements."""
    method = getattr(list, name)

    def call(self: BatchReference, *args: Any, **kwargs: Any) -> Any:
        self._make_elements()
        return method(self, *args, **kwargs)

    call.__name__ = name
    call.__doc__ = method.__doc__
    return call


for _name in (
    *("__add__", "__contains__", "__delitem__", "__eq__", "__ge__", "__getitem__", "__gt__"),
    *("__iadd__", "__imul__", "__le__", "__lt__", "__mul__", "__ne__", "__reversed__", "__rmul__"),
    *("__setitem__", "append", "clear", "copy", "count", "extend", "index", "insert", "pop"),
    *("remove", "reverse", "sort"),
):
    setattr(BatchReference, _name, _after_making(_name))


def _checked_indices(indices: Any, dataset: TokenDataset) -> tuple[NDArray[np.int64], int]:
    """The rows without negative numbers, and the length of the longest."""
    array = np.asarray(indices, order="C")
    if array.ndim == 1 and array.dtype == np.int64:
        try:
            return array, dataset.rust.longest(array)
        except DataError:  # a number that is negative, or beyond the rows
            pass
    array = np.ascontiguousarray(_resolved_indices(array, len(dataset)))
    return array, dataset.rust.longest(array)


def _resolved_indices(array: NDArray[Any], num_rows: int) -> NDArray[np.int64]:
    if array.size == 0:
        return np.empty(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise DataError(
            "rows are named by a flat list of integers", found=f"{array.dtype} {array.shape}"
        )
    array = array.astype(np.int64, copy=False)
    lowest, highest = int(array.min()), int(array.max())
    if lowest < -num_rows or highest >= num_rows:
        wrong = lowest if lowest < -num_rows else highest
        raise IndexError(f"row {wrong} of a dataset of {num_rows} rows")
    return np.where(array < 0, array + num_rows, array) if lowest < 0 else array
