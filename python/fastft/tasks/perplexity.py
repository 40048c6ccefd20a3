"""Perplexity: how many tokens a model wavers between, from the loss of an evaluation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fastft.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping


def perplexity(loss: float) -> float:
    """Gives the perplexity of a mean cross entropy; infinite where floats end.

    Example:
        >>> perplexity(0.0)
        1.0
    """
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def check_perplexity(arguments: Mapping[str, Any]) -> None:
    """Refuses to choose the best model by a perplexity that label smoothing hides.

    Args:
        arguments: The training arguments.

    Raises:
        ConfigurationError: Both were asked for.
    """
    metric = str(arguments.get("metric_for_best_model") or "").removeprefix("eval_")
    if metric == "perplexity" and arguments.get("label_smoothing_factor"):
        raise ConfigurationError(
            "with label smoothing the loss is no likelihood, so there is no perplexity",
            place="arguments metric_for_best_model, label_smoothing_factor",
            found=f"label_smoothing_factor={arguments['label_smoothing_factor']}",
            expected="one of the two",
            fix='pass metric_for_best_model="loss", or leave label_smoothing_factor out',
        )
