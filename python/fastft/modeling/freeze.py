"""Which weights are trained: all of them, or the head alone.

`base_model` is transformers' own name for everything below the head; what lies outside it is the
head. Weights of the base model that the checkpoint did not hold (a pooler, say) are random, so they
are trained with the head: a frozen random layer would throw information away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastft.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection

    from transformers import PreTrainedModel

TRAIN_MODES = ("full", "head")


def choose_trainable(model: PreTrainedModel, train: str, new_weights: Collection[str]) -> None:
    """Sets `requires_grad` on the parameters of a model.

    Args:
        model: The model; changed in place.
        train: "full" for every weight, "head" for the task's own layer and new weights.
        new_weights: Names of weights that are initialised at random.

    Raises:
        ConfigurationError: `train` is unknown, or the model has no head apart from its body.
    """
    if train not in TRAIN_MODES:
        raise ConfigurationError(
            "no such way to train",
            place="argument train",
            found=repr(train),
            expected=" or ".join(map(repr, TRAIN_MODES)),
            fix='pass train="full" for every weight or train="head" for the last layer',
        )
    if train == "full":
        return
    head = _head_names(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in head or name in new_weights)


def _head_names(model: PreTrainedModel) -> set[str]:
    body = {id(parameter) for parameter in model.base_model.parameters()}
    head = {name for name, parameter in model.named_parameters() if id(parameter) not in body}
    if model.base_model is model or not head:
        raise ConfigurationError(
            "the model has no head of its own to train",
            place='argument train="head"',
            found=f"{type(model).__name__}: every weight is part of its body",
            expected="a model with an output layer beside its body",
            fix='pass train="full"',
        )
    return head
