"""One class out of several for every text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastft.errors import ConfigurationError, Error, nearest
from fastft.tasks.labels import LabelSet, label_strings
from fastft.tasks.target import Target, softmax

if TYPE_CHECKING:
    from fastft.data.sources import Split

# Weights beyond these make a loss of float32 zero or infinite.
LEAST_WEIGHT, MOST_WEIGHT = 1e-30, 1e30


@dataclass(frozen=True)
class SingleLabel(Target):
    """One class a row.

    Attributes:
        column: The label column.
        names: The classes, in the order of their ids.
        weights: The weight of each class in the loss, if they differ.
    """

    column: str
    names: tuple[str, ...]
    weights: tuple[float, ...] | None = None

    problem_type: ClassVar[str] = "single_label_classification"
    loss: ClassVar[str] = "cross entropy, the mean over all rows of a step"
    metric_names: ClassVar[tuple[str, ...]] = ("accuracy", "f1_macro", "mcc")

    @property
    def labels(self) -> LabelSet:
        """The classes as a set that turns names into ids."""
        return LabelSet(self.names)

    def encode(self, split: Split) -> np.ndarray:
        """Turns labels into ids, int64 (B,)."""
        return self.labels.encode(split, self.column)

    def strata(self, split: Split) -> np.ndarray:
        """Gives the label of each row."""
        labels: np.ndarray = label_strings(split, self.column).to_numpy(zero_copy_only=False)
        return labels

    def describe(self) -> str:
        """Names the column and the first classes."""
        more = f", … ({len(self.names)})" if len(self.names) > 6 else ""
        shown = ", ".join(self.names[:6])
        weighted = "" if self.weights is None else "; weights " + self._shown_weights()
        return f"{self.column!r}, {len(self.names)} labels: {shown}{more}{weighted}"

    def _shown_weights(self) -> str:
        pairs = list(zip(self.names, self.weights or (), strict=True))
        return ", ".join(f"{name} {weight:.3g}" for name, weight in pairs[:6]) + (
            ", …" if len(pairs) > 6 else ""
        )

    def config_overrides(self) -> dict[str, Any]:
        """Gives the number of labels and their names."""
        return {
            "num_labels": len(self.names),
            "id2label": self.labels.id2label,
            "label2id": self.labels.label2id,
            "problem_type": self.problem_type,
        }

    def metrics(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Accuracy, macro-averaged F1 and Matthews' correlation (0 where it is undefined)."""
        from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

        predicted = np.argmax(logits, axis=-1)
        several = len(np.unique(np.concatenate([labels, predicted]))) > 1
        return {
            "accuracy": float(accuracy_score(labels, predicted)),
            "f1_macro": float(f1_score(labels, predicted, average="macro", zero_division=0)),
            "mcc": float(matthews_corrcoef(labels, predicted)) if several else 0.0,
        }

    def report(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        """The confusion matrix (a line a true class) and precision, recall, F1 of each class."""
        from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

        ids, predicted = range(len(self.names)), np.argmax(logits, axis=-1)
        figures = precision_recall_fscore_support(labels, predicted, labels=ids, zero_division=0)
        columns = ("precision", "recall", "f1", "rows")
        return {
            "labels": list(self.names),
            "confusion_matrix": confusion_matrix(labels, predicted, labels=ids).tolist(),
            "per_class": {
                name: {
                    column: float(values[index])
                    for column, values in zip(columns, figures, strict=True)
                }
                for index, name in enumerate(self.names)
            },
        }

    def decode(self, logits: np.ndarray) -> list[dict[str, Any]]:
        """Names the likeliest class of each row and its probability."""
        probabilities = softmax(logits)
        best = probabilities.argmax(axis=-1)
        return [
            {"label": self.names[index], "score": float(row[index])}
            for index, row in zip(best, probabilities, strict=True)
        ]

    def class_weights(self) -> np.ndarray | None:
        """Gives the weight of each class, float32 (C,)."""
        return None if self.weights is None else np.array(self.weights, np.float32)

    def warnings(self) -> list[Error]:
        """Names classes that are probably one, written in two ways."""
        return list(self.labels.warnings(self.column))

    def notes(self, labels: np.ndarray) -> tuple[str, ...]:
        """Names the classes that no training row has."""
        note = self.labels.note_on_unused(labels)
        return () if note is None else (note,)

    def state(self) -> dict[str, Any]:
        """Gives column, names and weights."""
        weights = None if self.weights is None else list(self.weights)
        return {"column": self.column, "names": list(self.names), "weights": weights}


def read_class_weights(given: Any, names: tuple[str, ...], ids: np.ndarray) -> tuple[float, ...]:
    """Gives the weight of each class.

    Args:
        given: "balanced" for rows / (classes x rows of the class), as scikit-learn does, or a dict
            of weights by class; a class that it does not name weighs 1.
        names: The classes.
        ids: int64 (B,): the class of each training row.

    Raises:
        ConfigurationError: It is neither, names an unknown class, or holds no positive number.
    """
    if given == "balanced":
        counts = np.bincount(ids, minlength=len(names))
        # A class without rows weighs nothing wrong: it never appears.
        return tuple(float(w) for w in len(ids) / (len(names) * np.maximum(counts, 1)))
    if not isinstance(given, dict):
        raise _weights_error(repr(given), "'balanced' or a dict of weights by class", names)
    weights = {str(name): weight for name, weight in given.items()}
    for name, weight in weights.items():
        if name not in names:
            close = nearest(name, names)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise _weights_error(f"the class {name!r}", f"classes of the data{hint}", names)
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not is_number or not LEAST_WEIGHT <= weight <= MOST_WEIGHT:
            expected = f"numbers above 0, from {LEAST_WEIGHT:g} to {MOST_WEIGHT:g}"
            raise _weights_error(f"{weight!r} for {name!r}", expected, names)
    return tuple(float(weights.get(name, 1.0)) for name in names)


def _weights_error(found: str, expected: str, names: tuple[str, ...]) -> ConfigurationError:
    return ConfigurationError(
        "class_weights cannot be used",
        place="argument class_weights",
        found=found,
        expected=expected,
        fix=f"pass class_weights='balanced' or {{{names[0]!r}: 2.0, ...}}",
    )
