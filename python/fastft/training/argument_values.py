"""Values of training arguments: the kind and the range of each.

transformers checks few of them, and most failures come late: a learning rate of "fast" or a seed of
2.5 ends the run in the middle, a negative `save_steps` saves nothing and says nothing. Here one
table holds a rule for every number, a second one the looser rules of a script that makes its own
`TrainingArguments`, where everything that transformers gives a meaning to stays allowed.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import transformers
from transformers.trainer_pt_utils import AcceleratorConfig
from transformers.trainer_utils import HubStrategy, IntervalStrategy, SaveStrategy, SchedulerType
from transformers.training_args import OptimizerNames

from fastft.errors import ConfigurationError, nearest
from fastft.training.argument_rules import (
    LARGEST_COUNT,
    Rule,
    is_number,
    number,
    or_none,
    steps,
    whole,
)
from fastft.training.plan import DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGEST_SEED = 2**32 - 1  # numpy's generator takes no more
LARGEST_BATCH = 2**24  # an evaluation fills up the last batch, whatever the data holds
LARGEST_BEAMS = 1024  # each takes a copy of the keys and values of all layers


# Every number among the arguments. Values that can do nothing sensible are refused.
RULES: dict[str, Rule] = {
    "adam_beta1": number(0, below=1),
    "adam_beta2": number(0, below=1),
    "adam_epsilon": number(0),
    "data_seed": or_none(whole(0, LARGEST_SEED)),
    "dataloader_num_workers": whole(0),
    "dataloader_prefetch_factor": or_none(whole(1)),
    "ddp_bucket_cap_mb": or_none(number(above=0)),
    "ddp_timeout": whole(1, 10**9),
    "eval_accumulation_steps": or_none(whole(1)),
    "eval_delay": number(0),
    "eval_steps": or_none(steps(1)),
    "generation_max_length": or_none(whole(1)),
    "generation_num_beams": or_none(whole(1, LARGEST_BEAMS)),
    "gradient_accumulation_steps": whole(1),
    "label_smoothing_factor": number(0, below=1),
    "learning_rate": number(0),
    "logging_steps": steps(1),
    "max_grad_norm": number(0, at_most=math.inf),
    "max_steps": whole(1, or_else=-1),
    "neftune_noise_alpha": or_none(number(0)),
    "num_train_epochs": number(above=0),
    "per_device_eval_batch_size": whole(1, LARGEST_BATCH),
    "per_device_train_batch_size": whole(1, LARGEST_BATCH),
    "save_steps": steps(1),
    "save_total_limit": or_none(whole(1)),
    "seed": whole(0, LARGEST_SEED),
    "torch_empty_cache_steps": or_none(whole(1)),
    "warmup_steps": steps(0),
    "weight_decay": number(0),
}

# Where transformers gives more values a meaning ("0 turns it off", a part of a step rounded), a
# script of the user's own keeps them.
LOOSER_RULES: dict[str, Rule] = {
    "data_seed": or_none(whole(-(2**63))),
    "dataloader_prefetch_factor": or_none(whole(0)),
    "ddp_timeout": number(),
    "eval_delay": number(),
    "eval_steps": or_none(number()),
    "generation_num_beams": or_none(whole(1)),
    "label_smoothing_factor": number(0, at_most=1),
    "logging_steps": number(),
    "max_grad_norm": number(-math.inf, at_most=math.inf),
    "max_steps": whole(-LARGEST_COUNT),
    "num_train_epochs": number(),
    "per_device_eval_batch_size": whole(1),
    "per_device_train_batch_size": whole(1),
    "save_steps": number(),
    "save_total_limit": or_none(whole(-LARGEST_COUNT)),
    "warmup_steps": number(0),
}

# How to get what an odd value was probably meant to do.
HINTS = {
    "eval_steps": 'eval_strategy="no" evaluates nothing',
    "logging_steps": 'logging_strategy="no" logs nothing',
    "max_grad_norm": "max_grad_norm=0 turns clipping off",
    "max_steps": "num_train_epochs then counts",
    "save_steps": 'save_strategy="no" saves no checkpoint',
    "save_total_limit": 'save_total_limit=None keeps all, save_strategy="no" saves none',
}

CHOICES: dict[str, type[Enum]] = {
    "eval_strategy": IntervalStrategy,
    "hub_strategy": HubStrategy,
    "logging_strategy": IntervalStrategy,
    "lr_scheduler_type": SchedulerType,
    "optim": OptimizerNames,
    "save_strategy": SaveStrategy,
}

# Kinds of value that transformers takes although its annotations do not say so.
MORE_KINDS: dict[str, tuple[type, ...]] = {
    "accelerator_config": (AcceleratorConfig,),
    "fsdp": (bool, list),
}

# The same for choices that are no enum.
MORE_CHOICES = {"include_num_input_tokens_seen": ["all", "non_padding", "no"]}


KIND_WORDS = {
    bool: "True or False",
    dict: "a dict",
    float: "a number",
    int: "a number",
    list: "a list",
    str: "text",
    types.NoneType: "None",
}


def plain_value(name: str, value: Any) -> Any:
    """Turns numpy's, an enum's and a path's value into Python's, and 16.0 into a count of 16.

    Example:
        >>> plain_value("max_steps", np.float64(1000))
        1000
    """
    if isinstance(value, np.generic):
        value = value.item()
    elif isinstance(value, Enum):
        value = value.value
    elif isinstance(value, Path):
        value = str(value)
    if isinstance(value, float) and value.is_integer() and name in RULES and RULES[name].is_count:
        return int(value)
    return value


def check_values(arguments: Mapping[str, Any]) -> None:
    """Refuses every value of a wrong kind, out of range, or without sense in a run of ours.

    Args:
        arguments: Training arguments under today's names; "auto" is left to the plan.

    Raises:
        ConfigurationError: A value is none that the argument can have.
    """
    given = {
        name: value
        for name, value in arguments.items()
        if not (isinstance(value, str) and value == "auto" and DEFAULTS.get(name) == "auto")
    }
    _check(given, RULES, DEFAULTS)
    for field in dataclasses.fields(transformers.Seq2SeqTrainingArguments):
        if field.name in given and field.name not in RULES:
            _check_kind(field, given[field.name])


def check_possible_values(arguments: Mapping[str, Any]) -> None:
    """Refuses the values with which no run could work, and nothing that transformers allows.

    Raises:
        ConfigurationError: A number is out of range, or a choice unknown.
    """
    _check(arguments, {**RULES, **LOOSER_RULES}, {})


def _check(
    arguments: Mapping[str, Any], rules: Mapping[str, Rule], defaults: Mapping[str, Any]
) -> None:
    for field in dataclasses.fields(transformers.Seq2SeqTrainingArguments):
        name = field.name
        if name not in arguments:
            continue
        value, default = arguments[name], defaults.get(name, field.default)
        choices = _choices(field)
        if choices:
            if not _is_other_kind(field, value):
                _check_choice(name, value, choices)
        elif name in rules and not rules[name].accepts(value):
            problem = "is out of range" if is_number(value) else "has a value of the wrong kind"
            hint = f"; {HINTS[name]}" if name in HINTS else ""
            fix = f"pass {name}={default!r}, or leave it out{hint}"
            _refuse(name, value, problem, rules[name].expected, fix)


def _choices(field: dataclasses.Field[Any]) -> list[str]:
    if field.name in CHOICES:
        return [str(member.value) for member in CHOICES[field.name]]
    named = field.metadata.get("choices") or MORE_CHOICES.get(field.name) or ()
    return [str(choice) for choice in named]


def _is_other_kind(field: dataclasses.Field[Any], value: Any) -> bool:
    """Whether a value is the None or the flag that stands beside the choices."""
    is_flag = isinstance(value, bool) and bool in _kinds(field)
    return is_flag or (value is None and field.default is None)


def _check_choice(name: str, value: Any, choices: list[str]) -> None:
    word = value.value if isinstance(value, Enum) else value
    if isinstance(word, str) and word in choices:
        return
    close = nearest(str(word).lower(), choices, count=1)
    if word is False and "no" in choices:
        close = ["no"]  # what YAML makes of a bare no
    fix = f"did you mean {close[0]!r}?" if close else f"pass one of them as {name}="
    _refuse(name, value, "has no such value", ", ".join(map(repr, choices)), fix)


def _kinds(field: dataclasses.Field[Any]) -> list[Any]:
    is_union = typing.get_origin(field.type) in (types.UnionType, typing.Union)
    parts = typing.get_args(field.type) if is_union else (field.type,)
    return [kind for part in parts for kind in _plain_kinds(part)]


def _plain_kinds(part: Any) -> list[Any]:
    origin = typing.get_origin(part)
    if origin is typing.Literal:
        return [type(value) for value in typing.get_args(part)]
    return [origin or part]


def _check_kind(field: dataclasses.Field[Any], value: Any) -> None:
    """Holds a value against the annotation; an annotation that is no plain one allows all."""
    kinds = [*_kinds(field), *MORE_KINDS.get(field.name, ())]
    if _choices(field) or not all(isinstance(kind, type) for kind in kinds):
        return
    if not any(_is_kind(value, kind) for kind in kinds):
        words = dict.fromkeys(KIND_WORDS.get(kind, kind.__name__) for kind in kinds)
        default = DEFAULTS.get(field.name, field.default)
        shown = [] if default is dataclasses.MISSING else default
        fix = f"pass {field.name}={shown!r}, or leave it out"
        _refuse(field.name, value, "has a value of the wrong kind", " or ".join(words), fix)


def _is_kind(value: Any, kind: Any) -> bool:
    if kind in (int, float):
        return is_number(value)
    if kind is str:
        return isinstance(value, str | Path)
    if kind is list:
        return isinstance(value, list | tuple) and all(
            isinstance(item, str | Enum) for item in value
        )
    return bool(isinstance(value, kind))


def _refuse(name: str, value: Any, problem: str, expected: str, fix: str) -> None:
    raise ConfigurationError(
        f"{name} {problem}",
        place=f"argument {name}",
        found=repr(value),
        expected=expected,
        fix=fix,
    )
