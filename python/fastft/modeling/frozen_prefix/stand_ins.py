"""What stands in for a frozen layer while its output is at hand.

A stand-in is a second face of the same module: it shares its `__dict__`, so weights, names, hooks
and mode are those of the layer, and only `forward` differs. `state_dict`, saving and DDP see what
they always see. The kept states travel through the model as keyword arguments, never in a global.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn
from transformers.modeling_outputs import BaseModelOutput

from fastft.modeling.padding_free.attention import as_called

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

STATES = "frozen_states"
"""The argument that carries (B, T, H): what the last frozen layer gave."""
ENCODER_STATES = "frozen_encoder_states"
"""The argument that carries (B, T, H): what a frozen encoder gave."""


class Skipped(nn.Module):
    """Gives its input back."""

    @classmethod
    def of(cls, module: nn.Module) -> Skipped:
        """Makes the stand-in of a module."""
        stand_in = cls.__new__(cls)
        object.__setattr__(stand_in, "__dict__", module.__dict__)
        return stand_in

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Gives the hidden states (B, T, H) back."""
        return hidden_states


class SkippedBorder(Skipped):
    """Gives what was kept of the last frozen layer."""

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Gives the kept states (B, T, H), packed where the layers above take packed rows."""
        return as_called(kwargs[STATES], kwargs)


class SkippedBlock(Skipped):
    """Stands for a block of T5, which hands a position bias on to those above.

    The bias is computed in the first block, for all of them; the one for the encoder's states is
    zero, and the next block makes it.
    """

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: Any = None,
        position_bias: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        encoder_decoder_position_bias: torch.Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Gives hidden states, position bias, and the bias for cross attention as it came."""
        if position_bias is None:
            width = hidden_states.shape[1]
            attention = self._modules["layer"][0].SelfAttention  # type: ignore[index]
            position_bias = attention.compute_bias(width, width, device=hidden_states.device)
        states = self._states(hidden_states, kwargs)
        return states, position_bias, encoder_decoder_position_bias

    def _states(self, hidden_states: torch.Tensor, kwargs: dict[str, Any]) -> Any:
        return hidden_states


class SkippedBorderBlock(SkippedBlock):
    """The same for the last frozen block."""

    def _states(self, hidden_states: torch.Tensor, kwargs: dict[str, Any]) -> Any:
        return as_called(kwargs[STATES], kwargs)


class SkippedEncoder(Skipped):
    """Gives what was kept of the encoder."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Gives the kept states (B, T, H) in the form of an encoder's output."""
        return BaseModelOutput(last_hidden_state=kwargs[ENCODER_STATES])


def is_t5_block(layer: nn.Module) -> bool:
    """Whether a layer is called and answers as the blocks of T5 do."""
    parts = getattr(layer, "layer", None)
    return isinstance(parts, nn.ModuleList) and hasattr(parts[0], "SelfAttention")


def stand_in_for(layer: nn.Module, *, is_border: bool) -> Skipped:
    """Makes the stand-in of a layer."""
    if is_t5_block(layer):
        return (SkippedBorderBlock if is_border else SkippedBlock).of(layer)
    return (SkippedBorder if is_border else Skipped).of(layer)


@dataclass(frozen=True)
class Place:
    """A module in its parent, and what may stand there."""

    parent: nn.Module
    name: str
    stand_in: nn.Module

    @classmethod
    def find(cls, model: nn.Module, path: str, stand_in: nn.Module) -> Place:
        """Finds the place of the module at a path such as `bert.encoder.layer.0`."""
        parent, _, name = path.rpartition(".")
        return cls(model.get_submodule(parent), name, stand_in)


@contextmanager
def swapped(places: Sequence[Place]) -> Iterator[None]:
    """Puts the stand-ins in their places while the block runs."""
    before = [place.parent._modules[place.name] for place in places]
    for place in places:
        place.parent._modules[place.name] = place.stand_in
    try:
        yield
    finally:
        for place, module in zip(places, before, strict=True):
            place.parent._modules[place.name] = module
