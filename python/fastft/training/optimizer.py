"""Optimizer and schedule, tried before the run: transformers builds them after its first writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import transformers

from fastft.errors import ConfigurationError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def check_optimizer(
    arguments: transformers.TrainingArguments, model: PreTrainedModel, num_steps: int
) -> None:
    """Looks for the class of the optimizer, and builds the schedule over a weight of its own.

    Args:
        arguments: The arguments of the run.
        model: The model; unchanged.
        num_steps: Optimizer steps of the run.

    Raises:
        ConfigurationError: A package is missing, or arguments of one of them are wrong.
    """
    # Each of some fifty optimizers and schedules fails in its own way.
    try:
        transformers.Trainer.get_optimizer_cls_and_kwargs(arguments, model)
    except Exception as error:
        names = {"optim": arguments.optim.value, "optim_args": arguments.optim_args}
        raise _refusal("the optimizer cannot be built", names, error) from error
    try:
        transformers.get_scheduler(
            arguments.lr_scheduler_type,
            optimizer=torch.optim.SGD(
                [torch.zeros(1, requires_grad=True)], arguments.learning_rate
            ),
            num_warmup_steps=arguments.get_warmup_steps(num_steps),
            num_training_steps=num_steps,
            scheduler_specific_kwargs=arguments.lr_scheduler_kwargs,
        )
    except Exception as error:
        names = {
            "lr_scheduler_type": arguments.lr_scheduler_type.value,
            "lr_scheduler_kwargs": arguments.lr_scheduler_kwargs,
        }
        raise _refusal("the learning rate schedule cannot be built", names, error) from error


def _refusal(problem: str, names: dict[str, Any], error: Exception) -> ConfigurationError:
    text = str(error).strip()
    return ConfigurationError(
        problem,
        place=f"arguments {', '.join(names)}",
        found=", ".join(f"{name}={value!r}" for name, value in names.items())
        + f": {text.splitlines()[0] if text else repr(error)}",
        expected="what transformers can build",
        fix="correct what the message names, or leave both arguments out",
    )
