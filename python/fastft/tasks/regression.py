"""A number for every text: a grade, a similarity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastft.errors import LabelError
from fastft.tasks.columns import require_column
from fastft.tasks.target import Target

if TYPE_CHECKING:
    from fastft.data.sources import Split

# The strata of a held-back share: so many intervals with equally many rows.
NUM_STRATA = 5
# The square of a larger number is infinite in the float32 of the loss.
MOST = 1e18


@dataclass(frozen=True)
class Regression(Target):
    """A number a row.

    Attributes:
        column: The label column.
    """

    column: str

    problem_type: ClassVar[str] = "regression"
    loss: ClassVar[str] = "squared error, the mean over all rows of a step"
    metric_names: ClassVar[tuple[str, ...]] = ("pearson", "spearman", "mse", "mae")
    lower_is_better: ClassVar[tuple[str, ...]] = ("mse", "mae")

    def encode(self, split: Split) -> np.ndarray:
        """Takes the numbers, float32 (B,)."""
        return numbers(split, self.column).astype(np.float32)

    def strata(self, split: Split) -> np.ndarray:
        """Gives the fifth in which each number lies."""
        values = numbers(split, self.column)
        borders = np.quantile(values, np.linspace(0, 1, NUM_STRATA + 1)[1:-1])
        return np.searchsorted(borders, values, side="right")

    def describe(self) -> str:
        """Names the column."""
        return f"{self.column!r}, a number"

    def config_overrides(self) -> dict[str, Any]:
        """Gives the one output."""
        return {
            "num_labels": 1,
            "id2label": {0: self.column},
            "label2id": {self.column: 0},
            "problem_type": self.problem_type,
        }

    def metrics(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Pearson's and Spearman's correlation (0 where one side is constant) and mean errors."""
        predicted = logits.reshape(-1).astype(np.float64)
        truth = labels.reshape(-1).astype(np.float64)
        return {
            "pearson": correlation(predicted, truth),
            "spearman": correlation(ranks(predicted), ranks(truth)),
            "mse": float(np.mean((predicted - truth) ** 2)),
            "mae": float(np.mean(np.abs(predicted - truth))),
        }

    def decode(self, logits: np.ndarray) -> list[dict[str, Any]]:
        """Gives the number of each row."""
        return [{"value": float(value)} for value in logits.reshape(-1)]

    def state(self) -> dict[str, Any]:
        """Gives the column."""
        return {"column": self.column}


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Gives Pearson's correlation of two arrays (B,); 0 where one of them is constant."""
    first, second = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / scale if scale > 0 else 0.0


def ranks(values: np.ndarray) -> np.ndarray:
    """Gives the rank of each value, from 1; equal values share the mean of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean_rank: np.ndarray = (last - (counts - 1) / 2.0)[places]
    return mean_rank


def numbers(split: Split, column: str) -> np.ndarray:
    """Takes a column of numbers, float64 (B,).

    Raises:
        LabelError: A value is missing, no number, infinite, or too large to be squared.
    """
    values = require_column(split, column)
    try:
        # Text that is no number becomes a fault below; it is looked for once more, by row.
        found = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        found = np.array([_number(value) for value in values.to_pylist()])
    _refuse(~np.isfinite(found), split, column, "the label is no number", "a finite number")
    too_large = "the label is too large for a squared error"
    _refuse(np.abs(found) > MOST, split, column, too_large, f"a number of at most {MOST:g} in size")
    return np.asarray(found, np.float64)


def _refuse(wrong: np.ndarray, split: Split, column: str, problem: str, expected: str) -> None:
    rows = np.flatnonzero(wrong)
    if not rows.size:
        return
    row = int(rows[0])
    raise LabelError(
        problem,
        place=split.place(row, column),
        found=f"{require_column(split, column)[row].as_py()!r} ({rows.size:,} such rows)",
        expected=f"{expected}, as the other rows have",
        fix="correct the value or drop the row",
    )


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def looks_like_numbers(split: Split, column: str) -> bool:
    """Whether a column holds decimal numbers that are no class ids: 3.8, but not 0.0 and 1.0."""
    values = require_column(split, column)
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        is_decimal = pc.match_substring_regex(values, r"^-?\d+(\.\d+)?$")
        if not pc.all(is_decimal).as_py() or not len(values):
            return False
        values = values.cast(pa.float64())
    elif not pa.types.is_floating(kind):
        return False
    found = values.drop_null().to_numpy()
    finite = found[np.isfinite(found)]
    return bool(np.any(finite != np.floor(finite)))
