"""The evaluation loss: the mean over all labels, whatever the batch size and the number of ranks.

transformers 5.23 averages the means of the batches, so a batch with few labels weighs as much as
one with many, and on several ranks the rows that accelerate repeats to fill the last batch count
twice. Here each batch counts by its labels, and repeated rows do not count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
            counts = torch.stack(self._counts).cpu().double()
            counted = counts > 0  # the mean over no labels is NaN
            totals[0] = (means[counted] * counts[counted]).sum()
            totals[1] = counts.sum()
        if accelerator.num_processes > 1:
            totals = accelerator.reduce(totals.to(accelerator.device), "sum").cpu()
        return float(totals[0] / totals[1]) if totals[1] > 0 else None


def num_valid_rows(accelerator: Accelerator, batch_size: int) -> int:
    """Counts the rows of this rank's batch that are no repetition.

    accelerate fills the last global batch with rows from the start of the data; of the ranks'
    batches laid end to end only the first `remainder` rows are new.

    Args:
        accelerator: Knows whether this is the last batch, and its remainder.
        batch_size: Rows in this rank's batch.
    """
    state = accelerator.gradient_state
    if accelerator.num_processes == 1 or not state.end_of_dataloader or state.remainder <= 0:
        return batch_size
    before: int = accelerator.process_index * batch_size
    return max(0, min(batch_size, int(state.remainder) - before))


def first_rows(inputs: dict[str, Any], number: int, batch_size: int) -> dict[str, Any]:
    """Cuts every tensor of a batch to its first rows."""
    return {
        name: value[:number]
        if isinstance(value, torch.Tensor) and value.dim() and value.shape[0] == batch_size
        else value
        for name, value in inputs.items()
    }
