"""Where the frozen layers of a model end.

The layers below the first trained one are the prefix, with the embeddings under them. Of an encoder
and a decoder the encoder belongs to it whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedModel

from fastft.modeling.structure import layer_lists

if TYPE_CHECKING:
    from torch import nn


class CannotSkipError(Exception):
    """The layers of a model cannot run once for all; the text says why. It never reaches a user."""


@dataclass(frozen=True)
class Border:
    """Where the prefix of a model ends.

    Attributes:
        stack: The name of the list of layers in which it ends.
        num_layers: How many layers of that list belong to it.
        num_all_layers: How many there are.
        encoder: The name of the encoder that runs once as a whole; None where there is but one
            stack.
    """

    stack: str
    num_layers: int
    num_all_layers: int
    encoder: str | None = None

    def describe(self) -> str:
        """Names it in a few words."""
        layers = f"{self.num_layers} of {self.num_all_layers} layers of {self.stack}"
        if self.encoder is None:
            return layers
        return f"{self.encoder} and {layers}" if self.num_layers else self.encoder


def find_border(model: Any) -> Border:
    """Finds the longest prefix of a model that holds no trained weight.

    Args:
        model: A `PreTrainedModel`, adapters in it or not; `requires_grad` says what is trained.

    Raises:
        CannotSkipError: There is none, or what lies in it cannot be told.
    """
    if not isinstance(model, PreTrainedModel):
        raise CannotSkipError(f"{type(model).__name__} is no model of transformers")
    _refuse_by_config(model)
    lists = layer_lists(model)
    if not lists:
        raise CannotSkipError("no list of layers was found")
    _refuse_trained_embeddings(model)
    name, layers = list(lists.items())[-1] if _has_decoder(model) else next(iter(lists.items()))
    frozen = _num_frozen(layers)
    encoder = _frozen_encoder(model) if _has_decoder(model) else None
    if not frozen and encoder is None:
        raise CannotSkipError(f"the first layer of {name} is trained")
    return Border(name, frozen, len(layers), encoder)


def _refuse_by_config(model: Any) -> None:
    config = model.config
    if getattr(config, "model_type", "") == "albert":
        raise CannotSkipError("all layers share their weights")
    for name in ("output_hidden_states", "output_attentions"):
        if getattr(config, name, False):
            raise CannotSkipError(f"config.{name} asks for what lies between the layers")
    weights = [weight.requires_grad for weight in model.parameters()]
    if all(weights):
        raise CannotSkipError("no weight is frozen")
    if not any(weights):
        raise CannotSkipError("every weight is frozen")


def _is_trained(module: nn.Module) -> bool:
    return any(weight.requires_grad for weight in module.parameters())


def _refuse_trained_embeddings(model: Any) -> None:
    try:
        inputs = model.get_input_embeddings()
    except NotImplementedError:
        return  # the comparison of gradients finds what is trained
    if not _is_trained(inputs):
        return
    output = model.get_output_embeddings()
    if getattr(output, "weight", None) is getattr(inputs, "weight", inputs):
        raise CannotSkipError(
            "the output layer is trained, and it is the embedding of the first layer too"
        )
    raise CannotSkipError("the embeddings are trained")


def _has_decoder(model: Any) -> bool:
    return bool(getattr(model.config, "is_encoder_decoder", False))


def _num_frozen(layers: nn.ModuleList) -> int:
    trained = (number for number, layer in enumerate(layers) if _is_trained(layer))
    return next(trained, len(layers))


def _frozen_encoder(model: Any) -> str:
    encoder = model.get_encoder()
    if _is_trained(encoder):
        raise CannotSkipError("a part of the encoder is trained")
    return next(str(name) for name, module in model.named_modules() if module is encoder)
