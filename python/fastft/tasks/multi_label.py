"""Any number of classes for every text: toxic and obscene, or neither."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastft.errors import LabelError, nearest
from fastft.tasks.columns import require_column
from fastft.tasks.label_names import clip, sort_key
from fastft.tasks.target import Target

if TYPE_CHECKING:
    from fastft.data.sources import Split

THRESHOLD = 0.5


@dataclass(frozen=True)
class MultiLabel(Target):
    """Any number of classes a row.

    Attributes:
        columns: The column that lists the classes of a row, or a column of 0 and 1 for each class.
        names: The classes, in the order of their ids.
        separator: What stands between the classes where the column is text.
    """

    columns: tuple[str, ...]
    names: tuple[str, ...]
    separator: str | None = None

    problem_type: ClassVar[str] = "multi_label_classification"
    loss: ClassVar[str] = "binary cross entropy, the mean over all classes of all rows of a step"
    metric_names: ClassVar[tuple[str, ...]] = ("f1_micro", "f1_macro", "exact_match")

    def encode(self, split: Split) -> np.ndarray:
        """Turns labels into 0 and 1, float32 (B, C)."""
        if self.is_indicator:
            return np.stack([_indicator(split, name) for name in self.columns], axis=1)
        return self._encode_lists(split)

    @property
    def is_indicator(self) -> bool:
        """Whether each class has a column of its own."""
        return len(self.columns) > 1

    def _encode_lists(self, split: Split) -> np.ndarray:
        (column,) = self.columns
        lists = label_lists(split, column, self.separator)
        values = lists.flatten()
        ids = pc.index_in(values, value_set=pa.array(self.names, values.type))
        rows = np.repeat(np.arange(len(lists)), np.diff(lists.offsets.to_numpy()))
        if ids.null_count:
            position = int(pc.index(ids.is_null(), True).as_py())
            found = values[position].as_py()
            close = nearest(str(found), self.names)
            raise LabelError(
                f"the label is not one of the {len(self.names)} that the training split has",
                place=split.place(int(rows[position]), column),
                found=repr(found),
                expected=clip(self.names),
                fix=f"did you mean {close[0]!r}?"
                if close
                else "add such rows to the training split",
            )
        encoded = np.zeros((len(lists), len(self.names)), np.float32)
        encoded[rows, ids.to_numpy(zero_copy_only=False)] = 1.0
        return encoded

    def strata(self, split: Split) -> np.ndarray:
        """Gives how many classes each row has: rare combinations could not be kept in share."""
        return np.asarray(self.encode(split).sum(axis=1), np.int64)

    def describe(self) -> str:
        """Names the columns and the first classes."""
        return f"{clip(self.columns, 3)}, any of {len(self.names)} labels: {clip(self.names, 6)}"

    def config_overrides(self) -> dict[str, Any]:
        """Gives the number of labels and their names."""
        return {
            "num_labels": len(self.names),
            "id2label": dict(enumerate(self.names)),
            "label2id": {name: index for index, name in enumerate(self.names)},
            "problem_type": self.problem_type,
        }

    def metrics(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """F1 over all decisions and averaged over classes, and the share of rows without a fault.

        A class is predicted where its probability is above one half.
        """
        from sklearn.metrics import f1_score

        predicted, truth = logits > 0, labels > 0.5
        return {
            "f1_micro": float(f1_score(truth, predicted, average="micro", zero_division=0)),
            "f1_macro": float(f1_score(truth, predicted, average="macro", zero_division=0)),
            "exact_match": float((predicted == truth).all(axis=1).mean()),
        }

    def report(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        """Precision, recall and F1 of each class."""
        from sklearn.metrics import precision_recall_fscore_support

        figures = precision_recall_fscore_support(labels > 0.5, logits > 0, zero_division=0)
        columns = ("precision", "recall", "f1", "rows")
        return {
            "per_class": {
                name: {
                    column: float(values[index])
                    for column, values in zip(columns, figures, strict=True)
                }
                for index, name in enumerate(self.names)
            }
        }

    def decode(self, logits: np.ndarray) -> list[dict[str, Any]]:
        """Names the classes above one half, and the probability of each class."""
        probabilities = 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))
        return [
            {
                "labels": [name for name, p in zip(self.names, row, strict=True) if p > THRESHOLD],
                "scores": {name: float(p) for name, p in zip(self.names, row, strict=True)},
            }
            for row in probabilities
        ]

    def state(self) -> dict[str, Any]:
        """Gives columns, names and separator."""
        return {
            "columns": list(self.columns),
            "names": list(self.names),
            "separator": self.separator,
        }


def label_lists(split: Split, column: str, separator: str | None) -> Any:
    """Takes a column of lists of labels, as an Arrow array of lists of strings.

    Raises:
        LabelError: A row has no list, or a list holds something that is no label.
    """
    values = require_column(split, column).combine_chunks()
    values = pa.concat_arrays(values.chunks) if isinstance(values, pa.ChunkedArray) else values
    if values.null_count:
        row = int(pc.index(values.is_null(), True).as_py())
        raise LabelError(
            "the list of labels is missing",
            place=split.place(row, column),
            found="null",
            expected="a list; an empty one where no class applies",
            fix="write an empty list, or drop the row",
        )
    lists = _as_lists(values, split, column, separator)
    inside = lists.flatten()
    missing = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(inside), ""), True)
    if pc.any(missing).as_py():
        position = int(pc.index(missing, True).as_py())
        row = int(np.searchsorted(lists.offsets.to_numpy(), position, side="right")) - 1
        raise LabelError(
            "a label in the list is missing",
            place=split.place(row, column),
            found="null" if inside[position].as_py() is None else repr(inside[position].as_py()),
            expected="names or whole numbers",
            fix="take it out of the list",
        )
    return lists


def _as_lists(values: Any, split: Split, column: str, separator: str | None) -> Any:
    """Turns a column into lists of strings.

    Raises:
        LabelError: It holds neither lists of names, nor text where a separator was given.
    """
    try:
        if separator is None:
            return values.cast(pa.list_(pa.large_string()))
        if not pa.types.is_floating(values.type):
            return _split_texts(values.cast(pa.large_string()), separator)
    except pa.ArrowException:
        pass  # said below: Arrow's words name neither the column nor what to do
    is_text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    fix = "name the column that lists the classes with label="
    if separator is not None:
        fix = "remove label_separator"
    elif is_text:
        fix = "pass label_separator=, what stands between the classes of a row"
    raise LabelError(
        "the column cannot hold any number of classes a row",
        place=f"{split.name} split, column {column!r}",
        found=f"type {values.type}",
        expected="lists of names" if separator is None else "text that label_separator cuts",
        fix=fix,
    )


def _split_texts(values: pa.Array, separator: str) -> pa.Array:
    """Cuts texts at a separator; white space around labels is no part of them."""
    rows = [
        [label.strip() for label in text.split(separator) if label.strip()]
        for text in values.to_pylist()
    ]
    return pa.array(rows, pa.list_(pa.large_string()))


def listed_names(split: Split, column: str, separator: str | None) -> tuple[str, ...]:
    """Reads the classes of a column of lists from the training split, in order.

    Raises:
        LabelError: There are fewer than two.
    """
    found = pc.unique(label_lists(split, column, separator).flatten()).to_pylist()
    if len(found) < 2:
        raise LabelError(
            "there are fewer than two classes, so there is nothing to tell apart",
            place=f"{split.name} split, column {column!r}",
            found=clip(found) or "no label at all",
            expected="at least two labels",
            fix="name the column that lists the labels with label=",
        )
    return tuple(sorted(map(str, found), key=sort_key))


def _indicator(split: Split, column: str) -> np.ndarray:
    """Takes a column of 0 and 1, float32 (B,)."""
    values = require_column(split, column)
    try:
        numbers = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        numbers = np.full(len(values), np.nan)
    wrong = np.flatnonzero((numbers != 0) & (numbers != 1))
    if wrong.size:
        row = int(wrong[0])
        raise LabelError(
            "a column of a class holds something other than 0 and 1",
            place=split.place(row, column),
            found=f"{values[row].as_py()!r} ({wrong.size:,} such rows)",
            expected="1 where the class applies, else 0",
            fix="correct the value, or leave the column out of label=[...]",
        )
    return np.asarray(numbers, np.float32)
