"""A validation set cut from train, when the user gives none.

The cut is stratified by label (scikit-learn draws it), seeded, and made over distinct texts: rows
with the same text stay on one side, so no validation text has been trained on.

Invariant: every class keeps at least one row in train, and the two sides together are the whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

from fastft.data.sources import Split
from fastft.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

    Rows = NDArray[np.int64]


def stratified_cut(
    labels: Sequence[Hashable] | NDArray[np.generic],
    texts: pa.ChunkedArray | Sequence[str],
    *,
    fraction: float,
    seed: int,
) -> tuple[Rows, Rows]:
    """Returns the rows to train on and the rows to validate on.

    Rows with the same text form a group, which counts for the label of its first row. Classes of
    a single group stay in train; the others are drawn in proportion.

    Args:
        labels: The label of every row.
        texts: The text of every row.
        fraction: The share of the validation rows, between 0 and 1.
        seed: The seed of the draw; the same seed gives the same rows.

    Returns:
        The row numbers of train and of validation, sorted.

    Raises:
        ConfigurationError: The fraction is not between 0 and 1.
        DataError: No class has two different texts.

    Example:
        >>> train, validation = stratified_cut([0, 0, 1, 1], list("abcd"), fraction=0.5, seed=1)
        >>> len(train), len(validation)
        (2, 2)
    """
    if not 0.0 < fraction < 1.0:
        raise ConfigurationError(
            "the share of the validation rows is not between 0 and 1",
            place="argument validation",
            found=repr(fraction),
            fix="pass a share such as 0.1",
        )
    classes = _numbered(labels)
    group_of_row, first_rows = _groups(texts)
    group_class = classes[first_rows]
    drawn = _draw(group_class, fraction, seed)
    drawn = _keep_every_class(classes, group_of_row, drawn)
    if not len(drawn):
        raise DataError(
            "there are too few rows to cut a validation set",
            found=f"{len(first_rows)} different texts in {classes.max() + 1} classes",
            expected="a class with at least 2 different texts",
            fix="add rows, or pass validation=... with rows of its own",
        )
    is_validation = np.isin(group_of_row, drawn)
    return np.flatnonzero(~is_validation), np.flatnonzero(is_validation)


def cut_validation(
    split: Split,
    labels: Sequence[Hashable] | NDArray[np.generic],
    texts: pa.ChunkedArray | Sequence[str],
    *,
    fraction: float,
    seed: int,
) -> tuple[Split, Split]:
    """Returns a train and a validation split cut from one split; rows keep their places.

    Args:
        split: The split to cut.
        labels: The label of every row.
        texts: The text of every row.
        fraction: The share of the validation rows, between 0 and 1.
        seed: The seed of the draw.

    Raises:
        ConfigurationError: The fraction is not between 0 and 1.
        DataError: No class has two different texts.
    """
    train, validation = stratified_cut(labels, texts, fraction=fraction, seed=seed)
    return _take(split, "train", train), _take(split, "validation", validation)


def _take(split: Split, name: str, rows: Rows) -> Split:
    # A mask rather than take(): take() joins chunks, and strings over 2 GiB do not fit into one.
    mask = np.zeros(split.table.num_rows, bool)
    mask[rows] = True
    return Split(name, split.table.filter(pa.array(mask)), split.origin.take(rows))


def _numbered(labels: Sequence[Hashable] | NDArray[np.generic]) -> Rows:
    """Returns a number per row that says its class."""
    numbers: dict[Hashable, int] = {}
    values = labels.tolist() if isinstance(labels, np.ndarray) else labels
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)


def _groups(texts: pa.ChunkedArray | Sequence[str]) -> tuple[Rows, Rows]:
    """Returns the group of every row, and the first row of every group."""
    column = texts if isinstance(texts, pa.ChunkedArray) else pa.chunked_array([list(texts)])
    joined = pa.concat_arrays(column.cast(pa.large_string()).chunks)
    codes = joined.dictionary_encode(null_encoding="encode").indices.to_numpy()
    _, first_rows = np.unique(codes, return_index=True)
    return codes.astype(np.int64), first_rows.astype(np.int64)


def _draw(group_class: Rows, fraction: float, seed: int) -> Rows:
    """Returns the groups that go to validation."""
    classes, sizes = np.unique(group_class, return_counts=True)
    drawable = np.flatnonzero(np.isin(group_class, classes[sizes > 1]))
    count = int(np.sum(sizes > 1))
    if not count:
        return np.array([], np.int64)
    size = min(max(round(fraction * len(group_class)), 1), len(drawable) - count)
    # A cut with fewer rows than classes cannot hold all of them: it is drawn without strata.
    splitter = StratifiedShuffleSplit if size >= count else ShuffleSplit
    cut = splitter(n_splits=1, test_size=size, random_state=seed)
    _, drawn = next(cut.split(drawable, group_class[drawable]))
    return np.asarray(drawable[drawn], np.int64)


def _keep_every_class(classes: Rows, group_of_row: Rows, drawn: Rows) -> Rows:
    """Returns the groups without those that hold the last rows of a class."""
    left = classes[~np.isin(group_of_row, drawn)]
    for lost in np.setdiff1d(classes, left):
        first_row = int(np.flatnonzero(classes == lost)[0])
        drawn = drawn[drawn != group_of_row[first_row]]
    return drawn
