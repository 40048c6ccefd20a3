"""One batch both ways: the outputs of a model with and without its padding."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from fastft.modeling.losses.fused_head import FusedHead
from fastft.modeling.losses.head_record import HeadRecord
from fastft.modeling.padding_free.attention import KEYWORD
from fastft.modeling.padding_free.decision import has_padding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from transformers import PreTrainedModel


TO_COMPARE = "to be compared"
"""The reason for which one of the two runs stays padded."""

_FEW = 4
"""Rows that are enough to compare: a short one, a long one, and two between."""

_DECODED = ("logits", "last_hidden_state")
"""Outputs of an encoder and decoder that belong to the labels."""


def tolerance(model: PreTrainedModel) -> float:
    """Gives the difference that rounding explains, as a share of the largest output."""
    return 1e-4 if model.dtype == torch.float32 else 5e-2


def few_rows(batch: Mapping[str, Any]) -> Mapping[str, Any]:
    """Picks rows of different lengths, which take a fraction of the time of the whole batch.

    Args:
        batch: Arguments of the model, with a mask of B rows and padding on their right.

    Returns:
        The arguments for a few of the rows; the batch where so few would have no padding.
    """
    mask = batch["attention_mask"]
    if len(mask) <= _FEW:
        return batch
    by_length = mask.ne(0).sum(1).argsort(stable=True)
    picked = by_length[torch.linspace(0, len(mask) - 1, _FEW, device=mask.device).long()]
    few = {
        name: value[picked]
        if isinstance(value, torch.Tensor) and value.shape[:1] == mask.shape[:1]
        else value
        for name, value in batch.items()
    }
    return few if has_padding(few) else batch


@torch.no_grad()
def difference(model: PreTrainedModel, batch: Mapping[str, Any]) -> float:
    """Runs a batch both ways, without dropout, and compares what belongs to real tokens.

    Args:
        model: A padding-free model; it draws no random numbers, and its mode is as before.
        batch: Arguments of the model.

    Returns:
        The largest difference, as a share of the largest output; NaN where only the packed model
        gives one; 0 where the padded model gives numbers that are not finite.
    """
    with evaluating(model), _uncounted(model), torch.autocast(model.device.type, enabled=False):
        packed = model(**batch)
        padded = model(**batch, **{KEYWORD: TO_COMPARE})
    worst, is_seq2seq = 0.0, bool(model.config.is_encoder_decoder)
    for name, expected in padded.items():
        # Logits of a fused head are made by whoever looks: its loss is compared instead.
        if type(expected) is torch.Tensor and expected.is_floating_point():
            real = _real(batch, name if is_seq2seq else "", expected)
            if not expected[real].isfinite().all():
                return 0.0  # nothing to compare with; the loss of the padded model says so itself
            scale = expected[real].abs().max().clamp(min=1e-12)
            share = float((packed[name][real] - expected[real]).abs().max() / scale)
            worst = share if share != share else max(worst, share)
    return worst


def _real(batch: Mapping[str, Any], name: str, output: torch.Tensor) -> Any:
    """Picks the outputs that belong to real tokens: all where there is one for each row."""
    mask, labels = batch.get("attention_mask"), batch.get("labels")
    if name in _DECODED and labels is not None and output.shape[:2] == labels.shape:
        return labels != -100
    return mask.bool() if mask is not None and output.shape[:2] == mask.shape else ...


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Puts every module into evaluation mode, and each back into its own afterwards."""
    were_training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in were_training:
            module.training = True


@contextmanager
def _uncounted(model: torch.nn.Module) -> Iterator[None]:
    """Keeps what is run inside out of the counts that `explain` shows."""
    heads = [module for module in model.modules() if isinstance(module, FusedHead)]
    records = [head.record for head in heads]
    for head in heads:
        head.record = HeadRecord()
    try:
        yield
    finally:
        for head, record in zip(heads, records, strict=True):
            head.record = record
