"""What a loss is made of: the options that all ways of computing it share, checked once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import NamedTuple

import torch

from fastft.errors import ConfigurationError

REDUCTIONS = ("mean", "sum", "none")
SMALL = 250_000
"""Below so many logits the plain way of torch takes less time: there calls cost more than work."""


class Stats(NamedTuple):
    """What is known of the logits besides the loss; none of it has a gradient."""

    lse: torch.Tensor
    """float32, the shape of the labels: log-sum-exp of each row; 0 where the label is ignored."""
    n_correct: torch.Tensor
    """int64 (): the labels that are the first of the largest logits of their row."""
    entropy_sum: torch.Tensor
    """float32 (): the entropy of the softmax, summed over the labels that count."""
    n_tokens: torch.Tensor
    """int64 (): the labels that count."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of a loss that do not depend on how it is computed.

    Raises:
        ConfigurationError: An option has a value that cannot be meant.
    """

    ignore_index: int = -100
    reduction: str = "mean"
    denominator: int | float | torch.Tensor | None = None
    label_smoothing: float = 0.0
    z_loss: float = 0.0
    softcap: float | None = None
    logit_scale: float = 1.0
    class_weight: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.reduction not in REDUCTIONS:
            raise _wrong("reduction", self.reduction, f"one of {', '.join(REDUCTIONS)}")
        if self.denominator is not None and self.reduction == "none":
            raise _wrong("denominator", self.denominator, "none of it with reduction='none'")
        _check_number("label_smoothing", self.label_smoothing, 0.0, 1.0)
        _check_number("z_loss", self.z_loss, 0.0, math.inf)
        _check_number("logit_scale", self.logit_scale, -math.inf, math.inf)
        if self.softcap is not None:
            _check_number("softcap", self.softcap, 0.0, math.inf)
            if self.softcap == 0:
                raise _wrong("softcap", self.softcap, "a number above 0, or None")
        if isinstance(self.denominator, torch.Tensor) and self.denominator.numel() != 1:
            shape = tuple(self.denominator.shape)
            raise _wrong("denominator", f"a tensor of shape {shape}", "one number")

    def divisor(
        self, labels: torch.Tensor, token_weight: torch.Tensor | None
    ) -> int | float | torch.Tensor:
        """What the sum of the losses of these labels is divided by.

        The mean is weighted: it is divided by the weights of classes and tokens. Where these sum to
        0, as for no labels at all, the divisor is 1, so that the loss is 0.
        """
        if self.denominator is not None:
            return self.denominator
        if self.reduction != "mean":
            return 1
        counts = labels != self.ignore_index
        if self.class_weight is None and token_weight is None:
            return counts.sum().clamp(min=1)
        weights = counts.double()
        if self.class_weight is not None:
            weights = weights * self.class_weight.detach().double()[labels.where(counts, 0)]
        if token_weight is not None:
            weights = weights * token_weight.detach().double()
        total = weights.sum()
        return torch.where(total == 0, 1.0, total)


def _check_number(name: str, value: object, low: float, high: float) -> None:
    if not isinstance(value, Real) or not low <= float(value) <= high or math.isinf(value):
        expected = "a finite number" if math.isinf(low) else f"a number from {low:g} to {high:g}"
        raise _wrong(name, value, expected)


def _wrong(name: str, found: object, expected: str) -> ConfigurationError:
    problem = f"{name} cannot have this value"
    return ConfigurationError(problem, place=name, found=repr(found), expected=expected)
