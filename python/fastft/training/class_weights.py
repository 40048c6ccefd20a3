"""Class weights: rare classes weigh more in the loss of a classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch.nn.functional import cross_entropy

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ClassWeights:
    """The weight of each class.

    Args:
        weights: float32 (C,).
    """

    weights: torch.Tensor

    def loss(
        self, logits: torch.Tensor, labels: torch.Tensor, label_smoothing: float
    ) -> torch.Tensor:
        """Gives the weighted mean of the cross entropy, as `torch.nn.CrossEntropyLoss` does.

        Args:
            logits: (B, C).
            labels: int64 (B,).
            label_smoothing: The share of each label that is spread over all classes.
        """
        weights = self.weights.to(logits.device)
        return cross_entropy(
            logits.float().view(-1, len(weights)),
            labels.view(-1),
            weight=weights,
            label_smoothing=label_smoothing,
        )

    def total(self, labels: torch.Tensor) -> torch.Tensor:
        """Sums the weights of labels (B,): what the weighted mean divides by."""
        return self.weights.to(labels.device)[labels].sum()
