"""What a task is: columns, Auto class, label rule, loss, metric, and predictions as text.

One small file per task; each gives the same few answers, and nothing else in fastft asks what the
task is called.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from fastft.errors import ColumnError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    import pyarrow as pa
    from transformers import EvalPrediction, PreTrainedConfig

    from fastft.data.sources import Source, Split
    from fastft.data.token_dataset import TokenDataset
    from fastft.data.tokenizer import Tokenizer


@dataclass(frozen=True)
class Columns:
    """The columns that a task reads.

    Attributes:
        text: The column with the text, or the first of two texts.
        pair: The column with the second text, if there is one.
        label: The column with the label.
    """

    text: str
    pair: str | None
    label: str


class Task(ABC):
    """A kind of job.

    Attributes:
        name: The name that `task=` takes.
        auto_class: The transformers Auto class that builds the model.
    """

    name: ClassVar[str]
    auto_class: ClassVar[str]

    @classmethod
    @abstractmethod
    def from_source(
        cls,
        source: Source,
        options: Mapping[str, Any],
        head: PreTrainedConfig | None = None,
        *,
        head_is_fixed: bool = True,
    ) -> Task:
        """Settles columns and labels from the training split.

        Args:
            source: The data.
            options: The options of `finetune`.
            head: The configuration of the model.
            head_is_fixed: Whether the model is an object, whose head must fit; the head of a
                checkpoint is replaced when it does not.
        """

    @abstractmethod
    def strata(self, split: Split) -> tuple[np.ndarray, pa.ChunkedArray]:
        """Gives what a held-back share keeps in proportion, and what it keeps on one side.

        Returns:
            One value and one text a row: rows of the same text are never torn apart.
        """

    @abstractmethod
    def describe(self) -> str:
        """Says what is learnt and with which loss, in one or two lines."""

    @abstractmethod
    def config_overrides(self) -> dict[str, Any]:
        """Gives the configuration values that the model needs, for example `num_labels`."""

    @abstractmethod
    def dataset(
        self,
        split: Split,
        tokenizer: Tokenizer,
        max_length: int,
        progress: Callable[[int], None] | None = None,
    ) -> TokenDataset:
        """Turns the rows of a split into tokens and labels."""

    @abstractmethod
    def compute_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        """Scores predictions (B, ...) against labels."""

    @abstractmethod
    def decode(self, logits: np.ndarray) -> list[dict[str, Any]]:
        """Turns logits (B, ...) into what a person reads, one dict a row."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Gives everything that builds the task again, as JSON; see `from_state`."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: dict[str, Any]) -> Task:
        """Builds a task from what `state` gave."""


def find_column(split: Split, given: str | None, usual: Sequence[str], argument: str) -> str:
    """Finds the column that plays a part.

    Args:
        split: The split whose columns are looked at.
        given: The name that the user gave, if any.
        usual: The names that such a column usually has, the likeliest first.
        argument: The argument that names the column, for the message.

    Raises:
        ColumnError: No column has that name, or none is recognised.
    """
    names = list(split.table.column_names)
    if given is not None:
        if given in names:
            return given
        close = nearest(given, names)
        raise ColumnError(
            f"there is no column {given!r}",
            place=f"{split.name} split",
            found=", ".join(map(repr, names)),
            expected=f"the column that {argument}= names",
            fix=f"did you mean {argument}={close[0]!r}?" if close else f"change {argument}=",
        )
    for name in usual:
        if name in names:
            return name
    close = [hit for name in usual for hit in nearest(name, names, count=1)]
    raise ColumnError(
        f"no {argument} column was recognised",
        place=f"{split.name} split",
        found=", ".join(map(repr, names)),
        expected="one of " + ", ".join(map(repr, usual)),
        fix=f"did you mean {argument}={close[0]!r}?" if close else f"name it with {argument}=",
    )


def require_column(split: Split, column: str) -> pa.ChunkedArray:
    """Takes a column that the training split has from any split.

    Raises:
        ColumnError: This split lacks it.
    """
    names = list(split.table.column_names)
    if column in names:
        return split.table.column(column)
    close = nearest(column, names)
    raise ColumnError(
        f"the {split.name} split has no column {column!r}, which the training split has",
        place=split.place(0),
        found=", ".join(map(repr, names)),
        expected=f"a column {column!r}",
        fix=f"rename {close[0]!r} to {column!r}" if close else "give all splits the same columns",
    )


def text_column(split: Split, column: str) -> pa.ChunkedArray:
    """Takes a column of texts and refuses anything that is not text.

    Raises:
        ColumnError: The column has another type or a missing value.
    """
    import pyarrow as pa

    values = require_column(split, column)
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        raise ColumnError(
            f"column {column!r} is not text",
            place=f"{split.name} split",
            found=f"type {values.type}",
            expected="strings",
            fix="name the text column with text= (and pair=), or turn the values into strings",
        )
    if values.null_count:
        row = int(values.is_null().index(True).as_py())
        raise ColumnError(
            "the text is missing",
            place=split.place(row, column),
            found="null",
            expected="a string",
            fix="fill the text in or drop the row",
        )
    return values
