"""Class labels: from a column of integers or names to ids 0 .. C-1, and back to names.

The label set is read from the training split alone. Numbers sort as numbers, names as text, so the
ids do not depend on the order of the rows. Every row whose label cannot be used is named.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastft.errors import LabelError, nearest
from fastft.tasks.columns import require_column
from fastft.tasks.label_faults import (
    refuse_decimals,
    refuse_missing,
    refuse_mixture,
    refuse_unnamed,
)
from fastft.tasks.label_names import (
    alike,
    checked_label_names,
    clip,
    is_decimal,
    is_integer,
    sort_key,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedConfig

    from fastft.data.sources import Split


@dataclass(frozen=True)
class LabelSet:
    """The classes of a task.

    Attributes:
        names: The name of each class; its position is the id.

    Example:
        >>> LabelSet(("no", "yes")).id2label
        {0: 'no', 1: 'yes'}
    """

    names: tuple[str, ...]

    @property
    def id2label(self) -> dict[int, str]:
        """Id to name, as the model's configuration keeps it."""
        return dict(enumerate(self.names))

    @property
    def label2id(self) -> dict[str, int]:
        """Name to id, as the model's configuration keeps it."""
        return {name: index for index, name in enumerate(self.names)}

    def encode(self, split: Split, column: str) -> np.ndarray:
        """Turns the labels of a split into ids.

        Args:
            split: The split.
            column: Its label column.

        Returns:
            Ids, int64 (B,).

        Raises:
            LabelError: A label is missing or not in the set; the row is named.
        """
        values = label_strings(split, column)
        ids = pc.index_in(values, value_set=pa.array(self.names, values.type))
        if ids.null_count:
            self._refuse(split, column, values, ids)
        return np.asarray(ids.to_numpy(zero_copy_only=False), dtype=np.int64)

    def warnings(self, column: str = "label") -> list[LabelError]:
        """Names classes that are probably one class, written in two ways.

        Args:
            column: The column that they come from.
        """
        return [
            LabelError(
                "labels that look alike are taken as different classes",
                place=f"column {column!r}",
                found=clip(group),
                expected="classes that differ in more than white space, case or leading zeros",
                fix="write them in one way in the data, for example with .strip().lower()",
            )
            for group in alike(self.names)
        ]

    def note_on_unused(self, ids: Any) -> str | None:
        """Names the classes that no training row has, if there are any.

        Args:
            ids: The ids of the training rows, int64 (B,).
        """
        used = set(np.unique(np.asarray(ids)).tolist())
        unused = [name for index, name in enumerate(self.names) if index not in used]
        if not unused:
            return None
        return f"no training row has the label {clip(unused)}: the model cannot learn it"

    def fit_to_head(self, split: Split, column: str, config: PreTrainedConfig) -> LabelSet:
        """Holds the classes against the head of a model that the user built.

        Args:
            split: The training split.
            column: Its label column.
            config: The configuration of the model.

        Returns:
            The classes in the order in which the model names them, or as they are.

        Raises:
            LabelError: The head has another number of outputs, or a number is no output of it.
        """
        num_outputs = int(config.num_labels)
        numbers = [str(index) for index in range(num_outputs)]
        outside = [name for name in self.names if name not in numbers]
        if outside and all(map(is_integer, self.names)):
            values = label_strings(split, column)
            row = int(pc.index(values, pa.scalar(outside[0], values.type)).as_py())
            raise LabelError(
                "the label is not an output of the model",
                place=split.place(row, column),
                found=outside[0],
                expected=f"0 to {num_outputs - 1}",
                fix="correct the label, or build the model with more num_labels",
            )
        if len(self.names) != num_outputs:
            raise LabelError(
                f"the data has {len(self.names)} labels and the model's head has {num_outputs}",
                place=f"{split.name} split, column {column!r}",
                found=clip(self.names),
                expected=f"{num_outputs} labels (num_labels of the model given)",
                fix=f"build the model with num_labels={len(self.names)}, or pass its name or "
                "folder instead of the object",
            )
        named = tuple(str(config.id2label[index]) for index in range(num_outputs))
        return LabelSet(named) if set(named) == set(self.names) else self

    def in_order_of(self, config: PreTrainedConfig) -> LabelSet:
        """Takes the order of a checkpoint whose head was trained for the same classes."""
        named = tuple(str(name) for _, name in sorted(config.id2label.items()))
        return LabelSet(named) if set(named) == set(self.names) else self

    def _refuse(self, split: Split, column: str, values: pa.Array, ids: pa.Array) -> None:
        row = int(pc.index(ids.is_null(), True).as_py())
        found = values[row].as_py()
        close = nearest(str(found), self.names)
        raise LabelError(
            f"the label is not one of the {len(self.names)} that the training split has",
            place=split.place(row, column),
            found=f"{found!r} ({ids.null_count:,} such rows in the {split.name} split)",
            expected=clip(self.names),
            fix=f"did you mean {close[0]!r}? Otherwise add such rows to the training split or "
            "drop this one"
            if close
            else "add such rows to the training split, or drop this one",
        )


def read_label_set(split: Split, column: str, given: Sequence[str] | None = None) -> LabelSet:
    """Reads the classes from the training split.

    Args:
        split: The training split.
        column: Its label column.
        given: The names in the order of their ids, when the user or the layout fixes them.

    Raises:
        LabelError: Labels are missing, mixed, decimal numbers, all alike, or not among the names
            given; or these are no list of different strings.
    """
    chosen = None if given is None else checked_label_names(given)
    values = label_strings(split, column)
    found = [str(value) for value in pc.unique(values).to_pylist()]
    names = _class_names(split, column, found) if chosen is None else list(chosen)
    if chosen is not None:
        refuse_unnamed(split, column, values, found, chosen)
    if names is None:
        if all(map(is_decimal, found)):
            refuse_decimals(split, column, values.cast(pa.float64()))
        refuse_mixture(split, column, values, found)
        names = sorted(found, key=sort_key)
    if len(found) < 2:
        raise LabelError(
            "every example has the same label, so there is nothing to learn",
            place=f"{split.name} split, column {column!r}",
            found=f"{len(values):,} {'row' if len(values) == 1 else 'rows'} labelled {found[0]!r}",
            expected="at least two labels",
            fix="add examples of another class, or name the label column with label=",
        )
    return LabelSet(tuple(names))


def label_strings(split: Split, column: str) -> pa.Array:
    """Takes a label column as text: integers as digits, names as they are.

    Raises:
        LabelError: A label is missing, or the column holds decimal numbers or something else.
    """
    values = require_column(split, column).combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks)
    refuse_missing(split, column, values)
    kind = values.type
    if pa.types.is_integer(kind):
        return _named(split, column, values)
    if pa.types.is_boolean(kind):
        return values.cast(pa.string()).cast(pa.large_string())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return values.cast(pa.large_string())
    if pa.types.is_floating(kind):
        refuse_decimals(split, column, values)
    raise LabelError(
        f"column {column!r} cannot hold class labels",
        place=f"{split.name} split",
        found=f"type {kind}",
        expected="integers or names",
        fix="name the label column with label=, or turn the labels into strings",
    )


def _named(split: Split, column: str, values: pa.Array) -> pa.Array:
    """Gives integers the class names that a `datasets.ClassLabel` column carries, if it has any."""
    names = class_label_names(split.table.schema, column)
    if names is None:
        return values.cast(pa.large_string())
    ids = values.to_numpy(zero_copy_only=False)
    outside = np.flatnonzero((ids < 0) | (ids >= len(names)))
    if outside.size:
        raise LabelError(
            "the label is outside the dataset's own class names",
            place=split.place(int(outside[0]), column),
            found=f"{ids[outside[0]]} ({outside.size:,} such rows)",
            expected=f"0 to {len(names) - 1}: {clip(names)}",
            fix="drop the rows without a label (-1 marks them in GLUE's test splits)",
        )
    return pa.array(names, pa.large_string()).take(values)


def class_label_names(schema: pa.Schema, column: str) -> list[str] | None:
    """Reads the class names that Hugging Face datasets keeps in the schema's metadata."""
    raw = (schema.metadata or {}).get(b"huggingface")
    if raw is None:
        return None
    try:
        features: Any = json.loads(raw)["info"]["features"]
        names = features[column].get("names")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return [str(name) for name in names] if names and isinstance(names, list) else None


def _class_names(split: Split, column: str, found: list[str]) -> list[str] | None:
    """All class names of a `ClassLabel` column, in the order of its ids."""
    names = class_label_names(split.table.schema, column)
    return names if names is not None and set(found) <= set(names) else None
