"""The uneven end of an epoch on several ranks: rows that are there to fill a batch weigh nothing.

Where the rows do not divide by the global batch, accelerate fills the last one with rows from the
start of the data, so that every rank takes the same number of steps. The stock Trainer counts those
rows a second time, in training and in the evaluation loss. Here they take part in neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers.trainer_pt_utils import find_batch_size

from fastft.data.batch import FlattenedBatch
from fastft.data.rust_collator import IGNORE_INDEX

if TYPE_CHECKING:
    from accelerate import Accelerator


def at_uneven_end(accelerator: Accelerator) -> bool:
    """Whether the batch drawn last is one that accelerate had to fill; the same on all ranks."""
    state = accelerator.gradient_state
    return bool(accelerator.num_processes > 1 and state.end_of_dataloader and state.remainder > 0)


def num_valid_rows(accelerator: Accelerator, batch_size: int) -> int:
    """Counts the rows of this rank's batch that are no repetition.

    accelerate fills the last global batch with rows from the start of the data; of the ranks'
    batches laid end to end only the first `remainder` rows are new.

    Args:
        accelerator: Knows whether this is the last batch, and its remainder.
        batch_size: Rows in this rank's batch.
    """
    if not at_uneven_end(accelerator):
        return batch_size
    before: int = accelerator.process_index * batch_size
    return max(0, min(batch_size, int(accelerator.gradient_state.remainder) - before))


def num_rows(inputs: Any) -> int:
    """Counts the rows of a batch; where they stand end to end the batch knows how many."""
    lengths = _lengths(inputs)
    size: int = find_batch_size(inputs) if lengths is None else len(lengths)
    return size


def first_rows(inputs: Any, number: int, batch_size: int) -> dict[str, Any]:
    """Cuts every tensor of a batch to its first rows.

    Of rows that stand end to end all tokens stay, and the labels of the others are ignored.
    """
    lengths = _lengths(inputs)
    if lengths is not None:
        labels = inputs["labels"].clone()
        labels[..., int(lengths[:number].sum()) :] = IGNORE_INDEX
        return {**inputs, "labels": labels}
    return {
        name: value[:number]
        if isinstance(value, torch.Tensor) and value.dim() and value.shape[0] == batch_size
        else value
        for name, value in inputs.items()
    }


def _lengths(inputs: Any) -> Any:
    return inputs.lengths if isinstance(inputs, FlattenedBatch) else None
