"""What happens to logits between the head and the loss: a scale, a soft cap, a bias more.

All that the models of transformers do there has the form `cap * tanh(scale * logits)`, or without
the cap; so two numbers hold it, however many operations it took.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LogitChain:
    """`cap * tanh(x * mul / div)`, or `x * mul / div` where there is no cap.

    Multipliers and divisors are kept apart, so that Gemma's division by the cap and multiplication
    by it give a scale of exactly 1.

    Example:
        >>> LogitChain().over(30.0).tanh().times(30.0).arguments()
        {'logit_scale': 1.0, 'softcap': 30.0}
    """

    mul: float = 1.0
    div: float = 1.0
    cap: float | None = None
    added: torch.Tensor | None = None
    """Float (V,): a buffer that was added to the logits."""

    def times(self, factor: float) -> LogitChain:
        """Multiplies the logits by a number."""
        if self.cap is None:
            return replace(self, mul=self.mul * factor)
        return replace(self, cap=self.cap * factor)

    def over(self, divisor: float) -> LogitChain | None:
        """Divides the logits by a number; None when it is 0."""
        if divisor == 0:
            return None
        if self.cap is None:
            return replace(self, div=self.div * divisor)
        return replace(self, cap=self.cap / divisor)

    def tanh(self) -> LogitChain | None:
        """Caps the logits; None when they are capped already."""
        return replace(self, cap=1.0) if self.cap is None else None

    def plus(self, buffer: torch.Tensor) -> LogitChain | None:
        """Adds a buffer, float (V,); None behind a scale or a cap."""
        if self.cap is not None or self.mul != self.div:
            return None
        return replace(self, added=buffer if self.added is None else self.added + buffer)

    def arguments(self) -> dict[str, float] | None:
        """Gives the arguments of the fused call, or None when it cannot express the chain."""
        if self.cap is None:
            scale = self.mul / self.div
            return {"logit_scale": scale} if math.isfinite(scale) else None
        scale = self.mul * self.cap / self.div
        if self.cap <= 0 or not math.isfinite(self.cap) or not math.isfinite(scale):
            return None
        return {"logit_scale": scale, "softcap": self.cap}
