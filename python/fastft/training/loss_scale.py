"""The exact mean: how much of a step's loss one micro-batch is.

A model returns the mean over the labels of its own micro-batch. The loss of an optimizer step is
the mean over the labels of all its micro-batches, on all ranks. So each micro-mean is weighted by
its share of the step's labels:

    loss = sum_m  mean_m * count_m / count_step

transformers 5.23 does this only for heads that take `num_items_in_batch`; for the others it adds
the micro-means up, which multiplies loss and gradient by accumulation x ranks
(`tests/parity/test_trainer.py` pins the figure).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fastft.data.rust_collator import IGNORE_INDEX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn


def predicts_next_token(model: nn.Module) -> bool:
    """Whether the loss of a model compares each position with the label after it.

    transformers 5.23 asks the model's `loss_type`, which nine causal classes, GPT-2 among them, do
    not set; the table of causal Auto classes knows them all.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return False
    return type(model).__name__ in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()


def count_labels(
    batch: Mapping[str, Any], label_names: Sequence[str], *, shifted: bool
) -> torch.Tensor | None:
    """Counts the labels over which a model takes the mean of its loss.

    Args:
        batch: The inputs of the model.
        label_names: The names under which labels stand, as the Trainer knows them.
        shifted: Whether the loss predicts the next token, so that the first label of each row is
            never a target.

    Returns:
        A scalar int64 tensor, or None when the batch holds no labels.

    Example:
        >>> count_labels({"labels": torch.tensor([1, -100, 0])}, ["labels"], shifted=False)
        tensor(2)
    """
    known = _known_count(batch, label_names, shifted=shifted)
    if known is not None:
        return known
    if "shift_labels" in batch:
        return _count(batch["shift_labels"])
    labels = next((batch[name] for name in label_names if batch.get(name) is not None), None)
    if not isinstance(labels, torch.Tensor):
        return None
    if labels.is_floating_point():
        return torch.tensor(labels.numel(), device=labels.device)
    return _count(labels[..., 1:] if shifted else labels)


def _known_count(
    batch: Mapping[str, Any], label_names: Sequence[str], *, shifted: bool
) -> torch.Tensor | None:
    """The count that a batch of ours brings along, made where it was collated: no device waits."""
    if getattr(batch, "predicts_next", None) is not shifted or "shift_labels" in batch:
        return None
    number = getattr(batch, "num_loss_tokens", None)
    return None if number is None or "labels" not in label_names else torch.tensor(number)


def _count(labels: torch.Tensor) -> torch.Tensor:
    return (labels != IGNORE_INDEX).sum()


def total_count(counts: Sequence[torch.Tensor], device: Any) -> torch.Tensor:
    """Adds up counts, some of which our collators made on the CPU and others a device counted."""
    known = [count for count in counts if count.device.type == "cpu"]
    counted = [count for count in counts if count.device.type != "cpu"]
    sums = [torch.stack(part).sum().to(device) for part in (known, counted) if part]
    return torch.stack(sums).sum()


def loss_share(count: torch.Tensor, step_count: torch.Tensor, num_ranks: int) -> torch.Tensor:
    """Gives the factor that turns the mean of a micro-batch into its part of the step's mean.

    Args:
        count: Labels in this micro-batch, scalar.
        step_count: Labels in the whole step, all ranks together, scalar.
        num_ranks: DDP averages gradients over ranks, so each rank's part is multiplied by this.

    Returns:
        A scalar float32 tensor; exactly 1.0 when the micro-batch is the whole step.
    """
    # A step without any label (short rows of a masked language model) has a loss of 0, not 0 / 0.
    return count.to(step_count.device) * num_ranks / step_count.clamp(min=1)
