"""What is kept of the states of a row, and how a batch of it is made.

A head that reads one vector needs that one alone: its batch is (B, 1), as if every row were one
token. Everything else gets the states of all real tokens; padding is zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from fastft.modeling.frozen_prefix.stand_ins import STATES

if TYPE_CHECKING:
    from collections.abc import Mapping

PER_TOKEN = ("input_ids", "token_type_ids", "attention_mask")
"""The inputs of a batch that have an entry a token."""


@dataclass(frozen=True)
class Layout:
    """What is kept of a row.

    Attributes:
        position: "first" or "last" for one vector, "tokens" for all.
        pad_token_id: What the model takes for padding when it looks for the last token.
    """

    position: str
    pad_token_id: int | None = None

    @property
    def is_vector(self) -> bool:
        """Whether one vector is kept of each row."""
        return self.position != "tokens"

    def kept(
        self, states: torch.Tensor, inputs: Mapping[str, Any], mask: torch.Tensor
    ) -> torch.Tensor:
        """Picks what is kept, row after row.

        Args:
            states: (B, T, H).
            inputs: The batch that they were made of.
            mask: bool (B, T): the real tokens.

        Returns:
            (N, H): N is B for vectors, else the number of real tokens.
        """
        if not self.is_vector:
            return states[mask]
        index = self._index(inputs["input_ids"], mask)
        return states[torch.arange(len(states), device=states.device), index]

    def _index(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.position == "first":
            return mask.int().argmax(-1)
        # As the heads of transformers find it: the last token that is not the pad token.
        is_token = mask if self.pad_token_id is None else ids != self.pad_token_id
        return (torch.arange(ids.shape[1], device=ids.device) * is_token).argmax(-1)

    def batch(
        self, inputs: Any, kept: Mapping[str, torch.Tensor], masks: Mapping[str, torch.Tensor]
    ) -> Any:
        """Adds the kept states to a batch; changes it in place and gives it back.

        Args:
            inputs: The batch.
            kept: The states by the argument that carries them, (N, H) each.
            masks: bool (B, T): the real tokens, for each of them.
        """
        if self.is_vector:
            for name in PER_TOKEN:
                if name in inputs:
                    inputs[name] = inputs[name][:, :1].clone()
            if "attention_mask" in inputs:
                inputs["attention_mask"].fill_(1)
            inputs[STATES] = kept[STATES][:, None]
            return inputs
        for name, states in kept.items():
            mask = masks[name]
            padded = states.new_zeros(*mask.shape, states.shape[-1])
            padded[mask] = states
            inputs[name] = padded
        return inputs


def layouts(model: Any, *, one_vector: bool) -> list[Layout]:
    """Lists the layouts to try, those that keep least first."""
    if not one_vector:
        return [Layout("tokens")]
    config = model.config.get_text_config()
    return [
        Layout("first"),
        Layout("last", getattr(config, "pad_token_id", None)),
        Layout("tokens"),
    ]
