"""Text classification: one label a text, or one label a pair of texts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastft.data.token_dataset import TokenDataset
from fastft.tasks.base import Columns, Task, find_column, text_column
from fastft.tasks.labels import LabelSet, label_strings, read_label_set

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa
    from transformers import EvalPrediction, PreTrainedConfig

    from fastft.data.sources import Source, Split
    from fastft.data.tokenizer import Tokenizer

TEXT_COLUMNS = (
    "text",
    "sentence",
    "sentence1",
    "question",
    "review",
    "content",
    "tweet",
    "premise",
)
LABEL_COLUMNS = ("label", "labels", "category", "class", "intent", "sentiment", "target")


@dataclass(frozen=True)
class TextClassification(Task):
    """One class out of several for every text.

    Attributes:
        columns: The columns that are read.
        labels: The classes.
    """

    columns: Columns
    labels: LabelSet

    name: ClassVar[str] = "text-classification"
    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"

    @classmethod
    def from_source(
        cls,
        source: Source,
        options: Mapping[str, Any],
        head: PreTrainedConfig | None = None,
        *,
        head_is_fixed: bool = True,
    ) -> TextClassification:
        """Finds the columns and reads the label set of the training split.

        Args:
            source: The data.
            options: `text`, `pair`, `label` (column names, recognised when None) and
                `label_names` (the classes in the order of their ids, or None).
            head: The configuration of the model; where it names the same classes, their order is
                kept, so that a head that was trained for them stays right.
            head_is_fixed: Whether the head also decides how many labels there are.

        Raises:
            ColumnError: A column is not there.
            LabelError: The labels cannot be used.
        """
        train, pair = source.splits["train"], options["pair"]
        columns = Columns(
            text=find_column(train, options["text"], TEXT_COLUMNS, "text"),
            pair=None if pair is None else find_column(train, pair, (), "pair"),
            label=find_column(train, options["label"], LABEL_COLUMNS, "label"),
        )
        given = options["label_names"]
        names = source.label_names if given is None else given
        labels = read_label_set(train, columns.label, names)
        if head is not None and head_is_fixed:
            labels = labels.fit_to_head(train, columns.label, head)
        elif head is not None and given is None:
            labels = labels.in_order_of(head)
        return cls(columns, labels)

    def describe(self) -> str:
        """Says what is learnt and with which loss."""
        names = ", ".join(self.labels.names[:6])
        more = f", … ({len(self.labels.names)})" if len(self.labels.names) > 6 else ""
        texts = repr(self.columns.text)
        if self.columns.pair:
            texts += f" with {self.columns.pair!r}"
        return (
            f"text-classification: {texts} -> {self.columns.label!r}, "
            f"{len(self.labels.names)} labels: {names}{more}\n"
            "loss: cross entropy, the mean over all rows of a step"
        )

    def config_overrides(self) -> dict[str, Any]:
        """Gives the number of labels and their names."""
        return {
            "num_labels": len(self.labels.names),
            "id2label": self.labels.id2label,
            "label2id": self.labels.label2id,
            "problem_type": "single_label_classification",
        }

    def strata(self, split: Split) -> tuple[np.ndarray, pa.ChunkedArray]:
        """Gives label and text of each row."""
        labels = label_strings(split, self.columns.label).to_numpy(zero_copy_only=False)
        return labels, text_column(split, self.columns.text)

    def dataset(
        self,
        split: Split,
        tokenizer: Tokenizer,
        max_length: int,
        progress: Callable[[int], None] | None = None,
    ) -> TokenDataset:
        """Turns the rows of a split into tokens and label ids (B,)."""
        pair = self.columns.pair
        return TokenDataset.from_texts(
            text_column(split, self.columns.text),
            tokenizer,
            text_pair=None if pair is None else text_column(split, pair),
            max_length=max_length,
            columns={"labels": self.labels.encode(split, self.columns.label)},
            progress=progress,
        )

    def compute_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        """Accuracy and macro-averaged F1 of logits (B, C) against labels (B,)."""
        from sklearn.metrics import accuracy_score, f1_score

        logits = prediction.predictions
        logits = logits[0] if isinstance(logits, tuple) else logits
        predicted, labels = np.argmax(logits, axis=-1), prediction.label_ids
        return {
            "accuracy": float(accuracy_score(labels, predicted)),
            "f1_macro": float(f1_score(labels, predicted, average="macro", zero_division=0)),
        }

    def decode(self, logits: np.ndarray) -> list[dict[str, Any]]:
        """Names the likeliest class of each row of logits (B, C) and its probability."""
        shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
        odds = np.exp(shifted)
        probabilities = odds / odds.sum(axis=-1, keepdims=True)
        best = probabilities.argmax(axis=-1)
        return [
            {"label": self.labels.names[index], "score": float(row[index])}
            for index, row in zip(best, probabilities, strict=True)
        ]

    def state(self) -> dict[str, Any]:
        """Gives columns and labels as JSON."""
        return {"columns": asdict(self.columns), "label_names": list(self.labels.names)}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> TextClassification:
        """Builds the task from what `state` gave."""
        return cls(Columns(**state["columns"]), LabelSet(tuple(state["label_names"])))
