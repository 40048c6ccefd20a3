"""Dropout on a CPU by few random numbers: one of 64 bits decides on four values.

torch draws one number for each value, on one thread: 5 ns, more than the layers' own work on it.
"""

from __future__ import annotations

import torch
from torch import nn

CHANCES = 2**16
"""Equally likely values of the 16 bits that decide on a value."""


def drawn(values: torch.Tensor, dropout: float) -> torch.Tensor:
    """Draws which values are kept: zero where one is dropped, else by what it grows.

    The share is rounded to a 65,536th, and what is kept grows by the rounded share, so that the
    mean stays.

    Args:
        values: Floats of any shape.
        dropout: The share that is dropped, above 0, at most 1.

    Returns:
        Like `values`.
    """
    dropped, kept = round(dropout * CHANCES), torch.empty_like(values)
    if values.device.type != "cpu" or dropped in (0, CHANCES):
        scale = 1 / (1 - dropout) if dropout < 1 else 0.0
        return kept.bernoulli_(1 - dropout).mul_(scale)
    draws = torch.empty((values.numel() + 3) // 4, dtype=torch.int64)
    bits = draws.random_(-(2**63), None).view(torch.int16)[: values.numel()]
    torch.ge(bits.view(values.shape), dropped - CHANCES // 2, out=kept)
    return kept.mul_(CHANCES / (CHANCES - dropped))


class DrawnDropout(nn.Dropout):
    """`torch.nn.Dropout` whose values are `drawn`, while it trains on a CPU."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Drops values of a tensor of floats of any shape."""
        is_plain = type(input) is torch.Tensor and input.device.type == "cpu"
        drops = self.training and self.p > 0 and not self.inplace
        if not (is_plain and drops) or torch.compiler.is_compiling():
            return super().forward(input)
        return input * drawn(input, self.p)


def draw_dropout(model: nn.Module) -> None:
    """Lets the dropout layers of a model draw this way.

    They become another class of the same module, so names, hooks and modes stay. What is drawn
    depends on shapes and the generator alone: gradient checkpointing drops the same again.

    Args:
        model: Its modules of the class `torch.nn.Dropout` itself, not of a class made of it.
    """
    _change_class(model, nn.Dropout, DrawnDropout)


def restore_dropout(model: nn.Module) -> None:
    """Undoes `draw_dropout`.

    Args:
        model: The model.
    """
    _change_class(model, DrawnDropout, nn.Dropout)


def _change_class(model: nn.Module, old: type[nn.Module], new: type[nn.Module]) -> None:
    for module in model.modules():
        if type(module) is old:
            module.__class__ = new
