"""The plain way: every option in a few operations of torch, differentiable, on any device.

The other ways are tested against it, and it runs where they do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from fastft.modeling.losses.settings import Settings
    from fastft.modeling.losses.targets import Targets


class Rows(NamedTuple):
    """What each row gives, (M,)."""

    loss: torch.Tensor
    lse: torch.Tensor
    entropy: torch.Tensor | None = None
    is_correct: torch.Tensor | None = None


def row_losses(
    logits: torch.Tensor, targets: Targets, settings: Settings, *, statistics: bool = False
) -> Rows:
    """The loss of each row of logits (M, V); every label counts."""
    labels = targets.labels
    shaped = shape_logits(logits if logits.dtype == torch.float64 else logits.float(), settings)
    lse = shaped.logsumexp(-1)
    at_label = shaped.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    loss = _hard_and_smooth(shaped, lse, lse - at_label, labels, settings)
    if settings.z_loss:
        loss = loss + settings.z_loss * lse.square()
    if targets.token_weight is not None:
        loss = loss * targets.token_weight.to(loss.dtype)
    if not statistics:
        return Rows(loss, lse)
    with torch.no_grad():
        softmax = (shaped - lse.unsqueeze(-1)).exp()
        entropy = lse - torch.where(softmax == 0, 0, softmax * shaped).sum(-1)
        return Rows(loss, lse.detach(), entropy, shaped.argmax(-1) == labels)


def shape_logits(logits: torch.Tensor, settings: Settings) -> torch.Tensor:
    """Scaled, then softly capped."""
    if settings.logit_scale != 1:
        logits = logits * settings.logit_scale
    if settings.softcap is not None:
        logits = settings.softcap * torch.tanh(logits / settings.softcap)
    return logits


def _hard_and_smooth(
    shaped: torch.Tensor,
    lse: torch.Tensor,
    hard: torch.Tensor,
    labels: torch.Tensor,
    settings: Settings,
) -> torch.Tensor:
    weights = settings.class_weight
    if weights is not None:
        weights = weights.detach().to(shaped.dtype)
        hard = hard * weights[labels]
    if not settings.label_smoothing:
        return hard
    below = lse.unsqueeze(-1) - shaped
    smooth = (below if weights is None else below * weights).mean(-1)
    return (1 - settings.label_smoothing) * hard + settings.label_smoothing * smooth


def reduced(loss: torch.Tensor, targets: Targets, settings: Settings) -> torch.Tensor:
    """The losses of the labels that count, (M,), as `reduction` says."""
    if settings.reduction == "none":
        return targets.spread(loss)
    return loss.sum() / settings.divisor(targets.labels, targets.token_weight)
