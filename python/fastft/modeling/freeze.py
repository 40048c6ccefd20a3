"""Which weights are trained: all, the head alone, the last layers, or adapters beside them.

`base_model` is transformers' own name for everything below the head; what lies outside it is the
head. Weights of the base model that the checkpoint did not hold (a pooler, say) are random, so they
are trained with the head: a frozen random layer would throw information away.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from fastft.errors import ConfigurationError
from fastft.modeling.structure import count_parameters, layer_lists

if TYPE_CHECKING:
    from collections.abc import Collection

    from transformers import PreTrainedModel

LAST = re.compile(r"last:(\d+)")


def check_train_mode(train: Any) -> None:
    """Refuses a way to train that does not exist.

    Raises:
        ConfigurationError: `train` is neither "full", "head", "lora" nor "last:N".
    """
    words = ("full", "head", "lora")
    if isinstance(train, str) and (train in words or num_last_layers(train)):
        return
    raise ConfigurationError(
        "no such way to train",
        place="argument train",
        found=repr(train),
        expected="'full', 'head', 'last:N' (N layers, 1 or more) or 'lora'",
        fix='pass train="full" for every weight, "head" for the output layer, "last:2" for the '
        'last two layers and the output, or "lora" for adapters',
    )


def num_last_layers(train: str) -> int:
    """Gives N of "last:N"; 0 for every other way to train."""
    match = LAST.fullmatch(train)
    return int(match[1]) if match else 0


def choose_trainable(model: PreTrainedModel, train: str, new_weights: Collection[str]) -> None:
    """Sets `requires_grad` on the parameters of a model.

    Args:
        model: The model; changed in place.
        train: "full" for every weight, "head" for the task's own layer and new weights, "last:N"
            for the last N layers and all that comes after them. "lora" is left to `add_lora`.
        new_weights: Names of weights that are initialised at random.

    Raises:
        ConfigurationError: The model has no head apart from its body, no layers that could be told
            apart, or the user froze every weight.
    """
    check_train_mode(train)
    if train in ("full", "lora"):
        _check_not_frozen(model)
        return
    layers = num_last_layers(train)
    chosen = _last_names(model, layers) if layers else _head_names(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in chosen or name in new_weights)


def _check_not_frozen(model: PreTrainedModel) -> None:
    if any(parameter.requires_grad for parameter in model.parameters()):
        return
    raise ConfigurationError(
        "every weight of the model is frozen",
        place="argument model",
        found=f"requires_grad is False for all {count_parameters(model)[1]:,} parameters",
        expected="weights that can be trained",
        fix='call model.requires_grad_(True), or pass train="head" to train the last layer',
    )


def frozen_note(model: PreTrainedModel, train: str) -> str | None:
    """Says how much of a model stays frozen though every weight was to be trained."""
    trainable, total = count_parameters(model)
    if train != "full" or trainable == total:
        return None
    frozen = [name for name, weight in model.named_parameters() if not weight.requires_grad]
    more = f", … ({len(frozen)} weights)" if len(frozen) > 2 else ""
    return (
        f"{total - trainable:,} of {total:,} parameters stay frozen, as they are in the model that "
        f"was given: {', '.join(frozen[:2])}{more}"
    )


def is_tied(model: PreTrainedModel) -> bool:
    """Whether the output layer is the input embedding, so that neither can be trained alone."""
    output, inputs = model.get_output_embeddings(), model.get_input_embeddings()
    return output is not None and output.weight is inputs.weight


def _last_names(model: PreTrainedModel, number: int) -> set[str]:
    """Names the weights of the last layers and of all that comes after them."""
    lists = layer_lists(model)
    if getattr(model.config, "model_type", "") == "albert" or not lists:
        raise ConfigurationError(
            "the layers of the model cannot be told apart",
            place=f'argument train="last:{number}"',
            found=f"{type(model).__name__}: "
            + ("all layers share their weights" if lists else "no list of layers"),
            expected="a model that is a stack of layers with weights of their own",
            fix='pass train="full", "head" or "lora"',
        )
    prefix, stack = list(lists.items())[-1]  # of an encoder and a decoder, the decoder
    if number > len(stack):
        raise ConfigurationError(
            "the model has fewer layers",
            place=f'argument train="last:{number}"',
            found=f"{len(stack)} layers in {prefix}",
            expected=f"at most last:{len(stack)}",
            fix='pass train="full" for every weight',
        )
    first = f"{prefix}.{len(stack) - number}."
    names = [name for name, _ in model.named_parameters()]
    start = next(index for index, name in enumerate(names) if name.startswith(first))
    embedding = id(model.get_input_embeddings().weight)
    weights = dict(model.named_parameters())
    beside = f"{prefix.rpartition('.')[0]}."
    # A tied output layer is the embedding, which every lower layer stands on: it stays frozen. So
    # does what a stack applies before its layers and defines behind them: BART's
    # `layernorm_embedding`, DeBERTa's `rel_embeddings`.
    return {
        name
        for name in names[start:]
        if id(weights[name]) != embedding
        and not (name.startswith(beside) and "embed" in name.removeprefix(beside).split(".")[0])
    }


def _head_names(model: PreTrainedModel) -> set[str]:
    if is_tied(model):
        raise ConfigurationError(
            "the output layer is the input embedding, so it cannot be trained alone",
            place='argument train="head"',
            found=f"{type(model).__name__} with tied embeddings",
            expected="a head with weights of its own",
            fix='pass train="last:2" for the last two layers, or train="lora"',
        )
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
