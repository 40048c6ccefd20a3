"""What a loss is made of: the options that all ways of computing it share, checked once."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import torch

from fastft.errors import ConfigurationError

REDUCTIONS = ("mean", "sum", "none")
SMALL = 250_000
"""Below so many logits the plain way of torch takes less time: there calls cost more than work."""

NUMBERS = frozenset((int, float))
"""The classes of numbers, not of tensors that might want a gradient."""


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
        _check_ignore_index(self.ignore_index)
        _check_denominator(self.denominator)
        _check_number("label_smoothing", self.label_smoothing, 0.0, 1.0)
        _check_number("z_loss", self.z_loss, 0.0, math.inf)
        _check_number("logit_scale", self.logit_scale, -math.inf, math.inf)
        if self.softcap is not None:
            _check_number("softcap", self.softcap, 0.0, math.inf)
            if self.softcap == 0:
                raise _wrong("softcap", self.softcap, "a number above 0, or None")


def check_weight(name: str, weight: Any) -> None:
    """Looks whether weights are numbers through which no gradient has to go.

    Raises:
        ConfigurationError: They are not.
    """
    if weight is None:
        return
    if not isinstance(weight, torch.Tensor) or weight.is_complex():
        found = weight.dtype if isinstance(weight, torch.Tensor) else type(weight).__name__
        raise wrong(name, str(found), "a tensor of real numbers")
    check_constant(name, weight)


def check_constant(name: str, tensor: torch.Tensor) -> None:
    """Looks whether somebody might wait for a gradient that the loss does not give.

    Raises:
        ConfigurationError: Somebody might.
    """
    if tensor.requires_grad and torch.is_grad_enabled():
        raise ConfigurationError(
            f"the loss has no gradient by {name}",
            place=name,
            found="a tensor that requires grad",
            fix=f"{name}.detach(), or take reduction='none' and weigh the losses yourself",
        )


def wrong(name: str, found: str, expected: str) -> ConfigurationError:
    """The error for an argument."""
    problem = f"{name} cannot be used"
    return ConfigurationError(problem, place=name, found=found, expected=expected)


def _check_ignore_index(value: Any) -> None:
    try:
        is_index = -(2**63) <= operator.index(value) < 2**63
    except TypeError:
        is_index = False
    if not is_index or isinstance(value, (bool, torch.Tensor)):
        raise _wrong("ignore_index", value, "a whole number of 64 bits")


def _check_denominator(value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, torch.Tensor):
        _check_number("denominator", value, 0.0, math.inf)
        return
    if value.numel() != 1 or value.is_complex() or value.dtype == torch.bool:
        found = f"a tensor of {value.dtype} and shape {tuple(value.shape)}"
        raise wrong("denominator", found, "one number")
    check_constant("denominator", value)


def _check_number(name: str, value: Any, low: float, high: float) -> None:
    is_real = isinstance(value, Real) and not isinstance(value, bool)
    if is_real and low <= float(value) <= high and not math.isinf(value):
        return
    expected = f"a number from {low:g} to {high:g}"
    if math.isinf(high):
        expected = "a finite number" + ("" if math.isinf(low) else f", at least {low:g}")
    raise _wrong(name, value, expected)


def _wrong(name: str, found: object, expected: str) -> ConfigurationError:
    problem = f"{name} cannot have this value"
    return ConfigurationError(problem, place=name, found=repr(found), expected=expected)
