"""What a model must be before it is trained: the head of the task, weights in memory, numbers.

A model that the user built comes as it is, so each of these is looked at; a model that was loaded
by its name can still hold weights that are not numbers.
"""

from __future__ import annotations

import contextlib
import inspect
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers import PreTrainedModel

from fastft.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastft.errors import Error


def model_object(model: Any) -> PreTrainedModel:
    """Takes a model that the user built.

    Raises:
        ConfigurationError: It is no model of transformers.
    """
    if isinstance(model, PreTrainedModel):
        return model
    fix = "pass the name, or load it with AutoModelForSequenceClassification"
    for inner, more in (("module", ""), ("_orig_mod", " and torch_compile=True")):
        if isinstance(getattr(model, inner, None), PreTrainedModel):
            fix = f"pass the model inside, model.{inner}{more}"
    raise ConfigurationError(
        "the model is neither a name nor a transformers model",
        place="argument model",
        found=f"{type(model).__module__}.{type(model).__qualname__}",
        expected="a hub name, a folder, or a PreTrainedModel",
        fix=fix,
    )


def check_model(
    model: PreTrainedModel, task: str, auto_class: str, problem_type: str | None
) -> None:
    """Refuses a model that cannot be trained for a task.

    Args:
        model: The model.
        task: The name of the task, for the message.
        auto_class: The name of the transformers Auto class of the task.
        problem_type: The kind of loss, as `config.problem_type` names it; None for a task that has
            but one.

    Raises:
        ConfigurationError: The head is another one, weights are quantised, not in memory, or hold
            NaN or infinity.
    """
    _check_head(model, task, auto_class)
    if problem_type is not None:
        _check_problem_type(model, task, problem_type)
    _check_kind_of_weights(model)
    _check_numbers(model)


def _check_head(model: PreTrainedModel, task: str, auto_class: str) -> None:
    heads = _head_classes(auto_class)
    if _has_head(model, set(heads.values())):
        return
    fitting = heads.get(model.config.model_type)
    raise ConfigurationError(
        f"the model has no head for {task}",
        place="argument model",
        found=type(model).__name__,
        expected=fitting or f"a class that {auto_class} builds",
        fix=f"load it with {auto_class}.from_pretrained(...), or pass the name of the model",
    )


def _head_classes(auto_class: str) -> dict[str, str]:
    """Gives the classes that an Auto class builds, by model type."""
    table = getattr(transformers, auto_class)._model_mapping._model_mapping
    return {
        model_type: names if isinstance(names, str) else names[0]
        for model_type, names in table.items()
    }


def _has_head(model: PreTrainedModel, heads: set[str]) -> bool:
    """Whether a class, or one it is derived from, is a head of the task.

    A class that the user wrote on top of a bare body is believed when it takes labels.
    """
    stock = [
        kind.__name__ for kind in type(model).__mro__ if kind.__module__.startswith("transformers.")
    ]
    if heads.intersection(stock):
        return True
    if type(model).__name__ in stock or any("For" in name for name in stock):
        return False
    return "labels" in inspect.signature(model.forward).parameters


def _check_problem_type(model: PreTrainedModel, task: str, problem_type: str) -> None:
    found = getattr(model.config, "problem_type", None)
    if found in (None, problem_type):
        return
    raise ConfigurationError(
        f"the model computes another loss than {task} asks for",
        place="argument model",
        found=f"config.problem_type={found!r}",
        expected=f"{problem_type!r} or None",
        fix="set model.config.problem_type = None",
    )


def _check_kind_of_weights(model: PreTrainedModel) -> None:
    if getattr(model, "is_quantized", False):
        raise ConfigurationError(
            "quantised weights cannot be trained",
            place="argument model",
            found=f"{type(model).__name__} with {_quantisation(model)}",
            expected="weights in float32, bfloat16 or float16",
            fix="load the model without quantization_config",
        )
    absent = (name for name, weight in model.named_parameters() if weight.is_meta)
    names = list(islice(absent, 3))
    if names:
        raise ConfigurationError(
            "weights of the model are not in memory",
            place="argument model",
            found=f"on the meta device: {', '.join(names)}, …",
            expected="a model whose weights are loaded",
            fix="load it without torch.device('meta') and without device_map=",
        )


def _quantisation(model: PreTrainedModel) -> str:
    config = getattr(model.config, "quantization_config", None)
    return "no quantization_config" if config is None else type(config).__name__


def _check_numbers(model: PreTrainedModel) -> None:
    broken = (name for name, weight in model.named_parameters() if not _is_finite(weight.detach()))
    names = list(islice(broken, 4))
    if names:
        more = ", …" if len(names) > 3 else ""
        raise ConfigurationError(
            "weights of the model are not numbers",
            place="argument model",
            found=f"NaN or infinity in {', '.join(names[:3])}{more}",
            expected="finite weights",
            fix="take a checkpoint from before the run that broke them",
        )


def _is_finite(weight: torch.Tensor) -> bool:
    if not weight.is_floating_point() or weight.numel() == 0:
        return True
    # One pass without a copy: NaN goes through both, infinity is one of them.
    return all(bool(torch.isfinite(end)) for end in torch.aminmax(weight))


@contextlib.contextmanager
def left_as_it_was(model: Any) -> Iterator[None]:
    """Gives a model that the user built its configuration and frozen weights back at the end."""
    if not isinstance(model, PreTrainedModel):
        yield
        return
    config = dict(vars(model.config))
    flags = [(weight, weight.requires_grad) for weight in model.parameters()]
    try:
        yield
    finally:
        vars(model.config).clear()
        vars(model.config).update(config)
        for weight, flag in flags:
            weight.requires_grad_(flag)


def model_warnings(model: PreTrainedModel) -> Iterator[Error]:
    """Looks for weights of a given model that training would do badly by."""
    halves = {
        str(weight.dtype)
        for weight in model.parameters()
        if weight.requires_grad and weight.dtype in (torch.float16, torch.bfloat16)
    }
    if halves:
        yield ConfigurationError(
            "the weights are trained in half precision, where small updates are lost",
            place="argument model",
            found=" and ".join(sorted(halves)),
            expected="float32; bf16=True still computes in half precision",
            fix="call model.float() before, or pass the name of the model",
        )
