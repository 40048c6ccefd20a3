"""The evaluation loss: the mean over all labels, whatever the batch size and the number of ranks.

transformers 5.23 averages the means of the batches, so a batch with few labels weighs as much as
one with many, and on several ranks the rows that accelerate repeats to fill the last batch count
twice. Here each batch counts by its labels, and repeated rows do not count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from accelerate import Accelerator


class EvaluationLoss:
    """Collects means and label counts of batches; one per evaluation.

    The values stay on their device until `mean`, so that no batch waits for a GPU.
    """

    def __init__(self) -> None:
        self._means: list[torch.Tensor] = []
        self._counts: list[torch.Tensor] = []

    def add(self, mean: torch.Tensor, count: torch.Tensor) -> None:
        """Adds a batch: the mean loss over its labels and their number, both scalars."""
        self._means.append(mean.detach())
        self._counts.append(count)

    def mean(self, accelerator: Accelerator) -> float | None:
        """Gives the mean over all labels of all ranks; None when there were none."""
        totals = torch.zeros(2, dtype=torch.float64)
        if self._means:
            means = torch.stack(self._means).cpu().double()
            # Some were counted by a collator, others on the device.
            counts = torch.stack([count.cpu() for count in self._counts]).double()
            counted = counts > 0  # the mean over no labels is NaN
            totals[0] = (means[counted] * counts[counted]).sum()
            totals[1] = counts.sum()
        if accelerator.num_processes > 1:
            totals = accelerator.reduce(totals.to(accelerator.device), "sum").cpu()
        return float(totals[0] / totals[1]) if totals[1] > 0 else None
