"""The plain way: every option in a few operations of torch, differentiable, on any device.

The other ways are tested against it, and it runs where they do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from fastft.modeling.losses.divisor import divisor

if TYPE_CHECKING:
    from fastft.modeling.losses.settings import Settings
    from fastft.modeling.losses.targets import Targets


class Rows(NamedTuple):
    """What each row gives, (M,); the statistics where they are wanted."""

    loss: torch.Tensor
    lse: torch.Tensor | None = None
    entropy: torch.Tensor | None = None
    is_correct: torch.Tensor | None = None


def row_losses(
    logits: torch.Tensor, targets: Targets, settings: Settings, *, statistics: bool = False
) -> Rows:
    """The loss of each row of logits (M, V); 0 where the label is ignored."""
    counts = targets.labels != settings.ignore_index
    labels = targets.labels.where(counts, 0)
    shaped = shape_logits(logits if logits.dtype == torch.float64 else logits.float(), settings)
    log_softmax = shaped.log_softmax(-1)
    loss = _hard_and_smooth(log_softmax, labels, counts, settings)
    if settings.z_loss:
        loss = loss + settings.z_loss * log_sum_exp(shaped).square()
    if targets.token_weight is not None:
        # Before the product: infinity times a gradient of 0 is NaN.
        loss = loss * targets.token_weight.to(loss.dtype).where(counts, 0)
    loss = loss.where(counts, 0)
    if not statistics:
        return Rows(loss)
    with torch.no_grad():
        softmax = log_softmax.exp()
        # The limit of p log(p) is 0.
        entropy = -torch.where(softmax == 0, 0, softmax * log_softmax).sum(-1)
        lse, is_first = log_sum_exp(shaped), shaped.argmax(-1) == labels
        return Rows(loss, lse.where(counts, 0), entropy.where(counts, 0), is_first & counts)


def shape_logits(logits: torch.Tensor, settings: Settings) -> torch.Tensor:
    """Scaled, then softly capped."""
    if settings.logit_scale != 1:
        logits = logits * settings.logit_scale
    if settings.softcap is not None:
        logits = settings.softcap * torch.tanh(logits / settings.softcap)
    return logits


def log_sum_exp(logits: torch.Tensor) -> torch.Tensor:
    """Log-sum-exp of each row, (M,), with a gradient that keeps its digits beside large logits.

    That of torch is `exp(logits - lse)`, which has to forget what `lse` could not hold.
    """
    top = logits.detach().amax(-1, keepdim=True)
    top = top.where(top.isfinite(), 0)
    return (logits - top).logsumexp(-1) + top.squeeze(-1)


def _hard_and_smooth(
    log_softmax: torch.Tensor, labels: torch.Tensor, counts: torch.Tensor, settings: Settings
) -> torch.Tensor:
    hard = -log_softmax.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    weights = settings.class_weight
    if weights is not None:
        weights = weights.detach().to(log_softmax.dtype)
        hard = hard * weights[labels].where(counts, 0)
    if not settings.label_smoothing:
        return hard
    smooth = -(log_softmax if weights is None else log_softmax * weights).mean(-1)
    return (1 - settings.label_smoothing) * hard + settings.label_smoothing * smooth


def plain_linear(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    targets: Targets,
    settings: Settings,
    *,
    statistics: bool = False,
) -> tuple[torch.Tensor, Rows]:
    """The loss of a linear layer with hidden (N, H), logits and all, and what each row gave."""
    chosen = hidden if targets.rows is None else hidden[targets.rows]
    logits = torch.nn.functional.linear(chosen, weight, bias)
    found = row_losses(logits, targets, settings, statistics=statistics)
    return reduced(found.loss, targets, settings), found


def reduced(loss: torch.Tensor, targets: Targets, settings: Settings) -> torch.Tensor:
    """The losses of rows, (M,), as `reduction` says."""
    if settings.reduction == "none":
        return targets.spread(loss)
    by = divisor(targets, settings)
    return loss.sum() / (by.to(loss.dtype) if isinstance(by, torch.Tensor) else by)
