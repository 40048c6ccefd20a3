"""The loss of a linear layer as a module: `fastft.LinearCrossEntropy`."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import torch

from fastft.modeling.losses.linear_cross_entropy import (
    OPTIONS,
    check_options,
    linear_cross_entropy,
)
from fastft.modeling.losses.settings import Settings


class LinearCrossEntropy(torch.nn.Module):
    """`fastft.linear_cross_entropy` with its options settled once; it has no parameters.

    Args:
        class_weight: (V,), a weight for each class; a buffer, which follows the module to a device.
        **options: Options of `linear_cross_entropy`.

    Raises:
        TypeError: `linear_cross_entropy` has no such option.
        ConfigurationError: An option has a value that cannot be meant.

    Example:
        >>> loss = LinearCrossEntropy(label_smoothing=0.1)
        >>> loss(torch.zeros(2, 3), torch.ones(4, 3), torch.tensor([3, 0]))
        tensor(1.3863)
    """

    class_weight: torch.Tensor | None

    def __init__(self, *, class_weight: torch.Tensor | None = None, **options: Any) -> None:
        super().__init__()
        known = inspect.signature(linear_cross_entropy).parameters
        for name in options:
            # What comes with a batch is no option.
            if name not in known or known[name].kind is not inspect.Parameter.KEYWORD_ONLY:
                raise TypeError(f"LinearCrossEntropy has no option {name!r}")
        settled = {one.name for one in fields(Settings)} & options.keys()
        Settings(**{name: options[name] for name in settled})
        check_options(**{name: options[name] for name in OPTIONS if name in options})
        self.register_buffer("class_weight", class_weight)
        self.options = options

    def forward(
        self,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        labels: torch.Tensor,
        **arguments: Any,
    ) -> Any:
        """The loss; `arguments` come with a batch (`bias`, `index`, `denominator`) and win."""
        options = {"class_weight": self.class_weight, **self.options, **arguments}
        return linear_cross_entropy(hidden, weight, labels, **options)

    def extra_repr(self) -> str:
        """The options, for `print`."""
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())
