"""What a text classifier is trained towards: one class, several classes, or a number.

Each kind of target lies in a file of its own (`single_label`, `multi_label`, `regression`) and
gives the same few answers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import numpy as np

    from fastft.data.sources import Split
    from fastft.errors import Error


class Target(ABC):
    """A kind of target.

    Attributes:
        problem_type: How `config.problem_type` of transformers names it.
        loss: The loss, in words.
        metric_names: What `metrics` gives.
        lower_is_better: Those of them of which less is better.
    """

    problem_type: ClassVar[str]
    loss: ClassVar[str]
    metric_names: ClassVar[tuple[str, ...]]
    lower_is_better: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def encode(self, split: Split) -> np.ndarray:
        """Turns the labels of a split into what the model is trained on.

        Returns:
            int64 (B,) for one class, float32 (B, C) for several, float32 (B,) for a number.

        Raises:
            LabelError: A label is missing or cannot be used; the row is named.
        """

    @abstractmethod
    def strata(self, split: Split) -> np.ndarray:
        """Gives a value a row; a held-back share keeps the proportions of the values."""

    @abstractmethod
    def describe(self) -> str:
        """Names columns and classes."""

    @abstractmethod
    def config_overrides(self) -> dict[str, Any]:
        """Gives `num_labels` and the names of the outputs."""

    @abstractmethod
    def metrics(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Scores logits (B, C) against what `encode` gave."""

    def report(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        """Gives what is no single number, as JSON: a confusion matrix, figures of each class."""
        return {}

    @abstractmethod
    def decode(self, logits: np.ndarray) -> list[dict[str, Any]]:
        """Turns logits (B, C) into what a person reads, one dict a row."""

    def class_weights(self) -> np.ndarray | None:
        """Gives the weight of each class in the loss, float32 (C,)."""
        return None

    def warnings(self) -> list[Error]:
        """Names what is probably a mistake in the labels."""
        return []

    def notes(self, labels: np.ndarray) -> tuple[str, ...]:
        """Says what the user should know about the labels of the training split."""
        return ()

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Gives the arguments of the class, as JSON."""


def softmax(logits: np.ndarray) -> np.ndarray:
    """Turns logits (B, C) into probabilities, in float64."""
    import numpy as np

    odds = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    probabilities: np.ndarray = odds / odds.sum(axis=-1, keepdims=True)
    return probabilities
