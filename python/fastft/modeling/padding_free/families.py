"""The models that can run padding-free, and where in each the layers begin and end.

A family is a class of transformers that holds a stack of layers (its *body*). It is named here once
its outputs and gradients were held equal to the padded model's by a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Family:
    """How a body is built.

    Attributes:
        stack: The attribute that takes the hidden states and gives them back: a module with all
            layers inside, or a list whose first module takes and whose last gives.
        rotates: Whether positions are given to the layers as rotations, made of `position_ids`;
            otherwise they are part of the embedding.
        caches: Whether it may keep keys and values for later tokens.
        has_bias: Whether the first layer makes a position bias that all others use (T5).
    """

    stack: str
    rotates: bool = False
    caches: bool = False
    has_bias: bool = False

    def ends(self, body: nn.Module) -> tuple[nn.Module, nn.Module]:
        """Gives the module that the hidden states enter, and the one that they leave."""
        stack = getattr(body, self.stack)
        return (stack[0], stack[-1]) if isinstance(stack, nn.ModuleList) else (stack, stack)


_ENCODER = Family("encoder")
_DECODER = Family("layers", rotates=True, caches=True)

FAMILIES: dict[str, Family] = {
    "BertModel": _ENCODER,
    "RobertaModel": _ENCODER,
    "XLMRobertaModel": _ENCODER,
    "CamembertModel": _ENCODER,
    "ElectraModel": _ENCODER,
    "AlbertModel": _ENCODER,
    "DistilBertModel": Family("transformer"),
    "ModernBertModel": Family("layers", rotates=True),
    "GPT2Model": Family("h", caches=True),
    "LlamaModel": _DECODER,
    "MistralModel": _DECODER,
    "Qwen2Model": _DECODER,
    "Qwen3Model": _DECODER,
    "T5Stack": Family("block", caches=True, has_bias=True),
}
"""By the name of the body's class, as in transformers."""


def family(module: nn.Module) -> Family | None:
    """Gives the family of a body, None for any other module.

    A class that FSDP2 made of a body, or a user's own subclass of it, is one too.
    """
    for kind in type(module).__mro__:
        if kind.__name__ in FAMILIES and kind.__module__.startswith("transformers."):
            return FAMILIES[kind.__name__]
    return None


def bodies(model: nn.Module) -> Iterator[tuple[nn.Module, Family]]:
    """Finds the bodies in a model."""
    for module in model.modules():
        found = family(module)
        if found is not None:
            yield module, found
