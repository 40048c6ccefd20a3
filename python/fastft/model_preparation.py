"""From a name to a model that is ready to train: steps 1 to 3 of a run.

Load the model and show it, define task and loss, initialise: which weights are new, which frozen.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import transformers

from fastft.modeling.dropout import dropout_overrides
from fastft.modeling.fit import check_model, model_object
from fastft.modeling.freeze import choose_trainable, frozen_note
from fastft.modeling.load import LoadedModel, load_model
from fastft.modeling.lora import add_lora
from fastft.modeling.structure import count_parameters, describe_model

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transformers import PreTrainedConfig, PreTrainedModel

    from fastft.console import Console
    from fastft.request import Request
    from fastft.tasks.base import Task


def prepare_model(
    request: Request,
    task: Task,
    config: PreTrainedConfig,
    *,
    seed: int,
    pad_token_id: int | None,
) -> tuple[LoadedModel, list[str]]:
    """Loads the model of a job, gives it the head of the task, and freezes what is not trained.

    Args:
        request: The job.
        task: Its task.
        config: The configuration of the model, as it was found.
        seed: The seed of new weights.
        pad_token_id: What pads, where the model does not say.

    Returns:
        The model, and what the user should know about it.

    Raises:
        Error: The model cannot be loaded, or not be trained for the task.
    """
    # The random head depends on the seed alone, as in transformers' own scripts.
    transformers.set_seed(seed)
    overrides, train = task.config_overrides(), request.options["train"]
    is_object = request.model_name is None
    dropout = dropout_overrides(config, request.options["dropout"], is_object=is_object)
    if request.model_name is None:
        loaded = LoadedModel(model_object(request.model), (), ())
    else:
        loaded = load_model(request.model_name, task.auto_class, {**overrides, **dropout})
    model = loaded.model
    check_model(model, task.name, task.auto_class, overrides.get("problem_type"))
    if request.model_name is None:
        _take_over(model, overrides)
    if getattr(model.config, "pad_token_id", None) is None:
        model.config.pad_token_id = pad_token_id
    choose_trainable(model, train, loaded.new_weights)
    note = frozen_note(model, train)
    if train == "lora":
        adapted = add_lora(model, request.options["lora"], loaded.new_weights)
        loaded = dataclasses.replace(loaded, model=adapted)
    return loaded, [note] if note else []


def show_model(
    loaded: LoadedModel,
    task: Task,
    console: Console,
    *,
    seed: int,
    is_object: bool,
    notes: Iterable[str],
) -> None:
    """Prints the first three steps of a run."""
    model = loaded.model
    console.step(1, f"load the model: {type(model).__name__}")
    console.detail(describe_model(model))
    console.step(2, "define task and loss")
    console.detail(task.describe())
    console.step(3, "initialise")
    new, unused = loaded.new_weights, loaded.unused_weights
    console.detail(f"new weights, random from seed {seed}: {', '.join(new) or 'none'}")
    if not is_object and not new and task.config_overrides():
        console.note("the checkpoint has a head of this size, which is kept and trained on")
    if unused:
        console.detail(f"weights of the checkpoint that are left out: {_clip(unused)}")
    trainable, total = count_parameters(model)
    console.detail(
        f"frozen: {total - trainable:,} parameters" if trainable < total else "frozen: none"
    )
    for note in notes:
        console.note(note)


def _take_over(model: PreTrainedModel, overrides: dict[str, Any]) -> None:
    """Gives a model that the user built the label names of the data."""
    for name, value in overrides.items():
        if name in ("id2label", "label2id") or getattr(model.config, name, None) is None:
            setattr(model.config, name, value)


def _clip(names: tuple[str, ...], limit: int = 4) -> str:
    more = f", … ({len(names)})" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
