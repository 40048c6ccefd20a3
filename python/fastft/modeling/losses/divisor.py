"""What the sum of the losses is divided by.

The mean is weighted: it is divided by the weights of the labels that count, of their classes and of
the labels themselves. Where these sum to 0, as for no labels at all, the divisor is 1, so that the
loss is 0.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import torch

from fastft.modeling.losses.settings import wrong
from fastft.modeling.losses.targets import may_look

if TYPE_CHECKING:
    from fastft.modeling.losses.settings import Settings
    from fastft.modeling.losses.targets import Targets

Number: TypeAlias = float | torch.Tensor
"""A number, or on a GPU a tensor that holds it, which the host does not wait for."""


def divisor(targets: Targets, settings: Settings) -> Number:
    """The divisor as it can be had where the labels are.

    Raises:
        ConfigurationError: Those of `divisor_of`.
    """
    given = settings.denominator
    known = given if isinstance(given, torch.Tensor) else None
    if may_look(targets.labels, targets.token_weight, settings.class_weight, known):
        return divisor_of(targets, settings)
    return divisor_on_device(targets, settings)


def divisor_of(targets: Targets, settings: Settings) -> float:
    """The divisor as a number.

    Raises:
        ConfigurationError: A denominator that is not above 0, for labels that count.
    """
    if settings.denominator is None:
        return float(_weights_that_count(targets, settings))
    divisor = float(settings.denominator)
    if 0 < divisor < math.inf:
        return divisor
    if divisor or (targets.labels != settings.ignore_index).any():
        expected = "the number of labels that count in the whole step"
        raise wrong("denominator", f"{divisor:g}", expected)
    return 1.0


def divisor_on_device(targets: Targets, settings: Settings) -> Number:
    """The divisor without waiting for a GPU.

    A denominator of 0 for labels that count, an error on the CPU, gives an infinite loss here.
    """
    given = settings.denominator
    if given is None:
        return _weights_that_count(targets, settings)
    labels = targets.labels
    counts = labels != settings.ignore_index
    if not isinstance(given, torch.Tensor) or given.device != labels.device:
        # Where it is on the CPU nobody waits.
        number = float(given)
        return number if number else counts.any().logical_not().double()
    given = given.detach().reshape(())
    return torch.where((given == 0) & ~counts.any(), 1, given)


def _weights_that_count(targets: Targets, settings: Settings) -> Number:
    """The sum by which the reduction divides, float64 where there are weights."""
    if settings.reduction != "mean":
        return 1.0
    counts = targets.labels != settings.ignore_index
    if settings.class_weight is None and targets.token_weight is None:
        return counts.sum().clamp(min=1)
    weights = counts.double()
    if settings.class_weight is not None:
        weights = weights * _class_weights(targets.labels, counts, settings.class_weight)
    if targets.token_weight is not None:
        # Not a product: what stands at an ignored label may be anything.
        weights = weights * targets.token_weight.detach().double().where(counts, 0)
    total = weights.sum()
    return torch.where(total == 0, 1.0, total)


def _class_weights(
    labels: torch.Tensor, counts: torch.Tensor, class_weight: torch.Tensor
) -> torch.Tensor:
    """The weight of each label; 0 where it is ignored, or is no class and its loss NaN anyway."""
    is_class = counts & (labels >= 0) & (labels < len(class_weight))
    return class_weight.detach().double()[labels.where(is_class, 0)].where(is_class, 0)
