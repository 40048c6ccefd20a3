"""Which values of training arguments are refused, and which still pass."""

from __future__ import annotations

import dataclasses
import math
import types
import typing

import numpy as np
import pytest
import transformers
from accelerate.parallelism_config import ParallelismConfig
from transformers.trainer_pt_utils import AcceleratorConfig
from transformers.trainer_utils import SaveStrategy

import fastft
from fastft.errors import ConfigurationError
from fastft.training.argument_values import (
    LOOSER_RULES,
    RULES,
    check_possible_values,
    check_values,
    plain_value,
)
from fastft.training.arguments import TrainingArguments, build_arguments
from tests.tiny import sentences

FIELDS = {field.name: field for field in dataclasses.fields(transformers.TrainingArguments)}


def refused(name, value, check=check_values):
    with pytest.raises(ConfigurationError) as caught:
        check({name: value})
    error = caught.value
    assert error.place == f"argument {name}"
    assert error.found == repr(value)
    assert error.expected
    assert name in error.fix or "did you mean" in error.fix
    return str(error)


# What no run can use, whether it is started by `finetune` or by a script of the user's own.
NEVER = [
    ("adam_beta1", 1.0), ("adam_beta2", -0.1), ("adam_epsilon", -1e-8),
    ("dataloader_num_workers", -1), ("eval_accumulation_steps", 0),
    ("gradient_accumulation_steps", 0), ("gradient_accumulation_steps", 2.5),
    ("label_smoothing_factor", 1.5), ("learning_rate", -1),
    ("learning_rate", math.nan), ("learning_rate", math.inf), ("learning_rate", 10**400),
    ("learning_rate", "2e-4"), ("learning_rate", True), ("lr_scheduler_type", "cosin"),
    ("max_steps", 1.5), ("neftune_noise_alpha", -1), ("num_train_epochs", math.nan),
    ("optim", "adamm"), ("per_device_eval_batch_size", 0), ("per_device_train_batch_size", -1),
    ("per_device_train_batch_size", 2.5), ("save_strategy", "never"), ("seed", -1), ("seed", 2**32),
    ("seed", 2.5), ("seed", None), ("torch_empty_cache_steps", 0), ("warmup_steps", -5),
    ("warmup_steps", "abc"), ("weight_decay", -1),
]  # fmt: skip

# What transformers gives a meaning to that `finetune` has a clearer argument for.
NOT_IN_FINETUNE = [
    ("data_seed", -1), ("eval_delay", -1), ("eval_steps", 0), ("label_smoothing_factor", 1.0),
    ("logging_steps", -1), ("max_grad_norm", -1), ("max_steps", 0), ("num_train_epochs", 0),
    ("per_device_eval_batch_size", 10**18), ("num_train_epochs", -1),
    ("save_steps", -1), ("save_total_limit", 0), ("warmup_steps", 2.5),
]  # fmt: skip

WRONG_KINDS = [
    ("generation_num_beams", 10**6), ("trackio_static_space_id", 5),
    ("trackio_static_space_id", ["space"]),
    ("accelerator_config", 5), ("eval_strategy", False), ("eval_strategy", None),
    ("fsdp_config", 5), ("include_for_metrics", "loss"), ("include_num_input_tokens_seen", "some"),
    ("load_best_model_at_end", 1), ("log_level", "loud"), ("lr_scheduler_kwargs", 5),
    ("num_train_epochs", True), ("optim_args", 5), ("parallelism_config", 5), ("project", None),
    ("report_to", [5]), ("run_name", 5), ("tf32", "yes"), ("train_sampling_strategy", "group"),
    ("save_steps", 2.5), ("use_cpu", "yes"), ("weight_decay", "auto"),
    ("learning_rate", np.array([1, 2])),
]  # fmt: skip

FINE = [
    ("trackio_static_space_id", False), ("trackio_static_space_id", "me/space"),
    ("generation_num_beams", 64),
    ("accelerator_config", AcceleratorConfig()), ("accelerator_config", {"split_batches": True}),
    ("bf16", "auto"), ("data_seed", None), ("deepspeed", "ds.json"), ("eval_steps", 0.1),
    ("fsdp", True), ("fsdp", "full_shard"), ("include_num_input_tokens_seen", True),
    ("include_num_input_tokens_seen", "non_padding"), ("learning_rate", 0),
    ("learning_rate", "auto"), ("logging_steps", 1), ("max_grad_norm", math.inf),
    ("max_steps", -1), ("num_train_epochs", 0.5),
    ("optim_target_modules", ["query"]), ("parallelism_config", ParallelismConfig()),
    ("report_to", None), ("save_strategy", SaveStrategy.BEST), ("save_strategy", "best"),
    ("save_total_limit", None), ("seed", 0), ("seed", 2**32 - 1), ("tf32", None),
    ("trackio_static_space_id", False), ("warmup_steps", 0), ("warmup_steps", 0.1),
    ("warmup_steps", 500), ("debug", ""), ("debug", []), ("ddp_backend", None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), NEVER)
def test_what_no_run_can_use_is_refused_everywhere(name, value):
    refused(name, value)
    refused(name, value, check_possible_values)
    with pytest.raises(ConfigurationError, match=f"argument {name}"):
        TrainingArguments(output_dir="never-made", **{name: value})


@pytest.mark.parametrize(("name", "value"), NOT_IN_FINETUNE)
def test_what_transformers_gives_a_meaning_to_stays_allowed_in_a_script(name, value, tmp_path):
    refused(name, value)
    check_possible_values({name: value})
    stock = transformers.TrainingArguments(output_dir=str(tmp_path), use_cpu=True, **{name: value})
    ours = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, **{name: value})
    assert getattr(ours, name) == getattr(stock, name)


@pytest.mark.parametrize(("name", "value"), WRONG_KINDS)
def test_a_value_of_the_wrong_kind_is_refused_by_name(name, value):
    refused(name, value)


@pytest.mark.parametrize(("name", "value"), FINE)
def test_what_is_right_passes(name, value):
    check_values({name: value})


def test_every_default_of_transformers_is_allowed_in_a_script(tmp_path):
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    again = dataclasses.replace(arguments, seed=3)
    assert (again.seed, again.optim) == (3, arguments.optim)


def test_a_positional_value_is_checked_too():
    with pytest.raises(ConfigurationError, match="argument per_device_train_batch_size"):
        TrainingArguments("never-made", -3)


def test_the_nearest_choice_is_named():
    assert "did you mean 'cosine'?" in refused("lr_scheduler_type", "cosin")
    assert "did you mean 'adamw_torch'?" in refused("optim", "AdamW_torch")
    assert "did you mean 'no'?" in refused("save_strategy", False)


def test_an_odd_value_is_answered_with_what_was_probably_meant():
    assert "save_total_limit=None" in refused("save_total_limit", 0)
    assert 'save_strategy="no"' in refused("save_steps", -1)
    assert "max_grad_norm=0" in refused("max_grad_norm", -1)
    assert "num_train_epochs" in refused("max_steps", 0)


def test_the_bounds_are_in_the_message():
    assert "a number, at least 0, below 1\n" in refused("adam_beta1", 1.0)
    assert "a whole number from 0 to 4294967295\n" in refused("seed", -1)
    assert "a number, above 0\n" in refused("num_train_epochs", 0)
    assert "a whole number from 1 up, or -1\n" in refused("max_steps", -2)
    assert "a share between 0 and 1" in refused("warmup_steps", 1.5)


def test_every_number_among_the_arguments_has_a_rule():
    numbers = set()
    for field in FIELDS.values():
        is_union = isinstance(field.type, types.UnionType)
        kinds = typing.get_args(field.type) if is_union else (field.type,)
        if field.init and {int, float} & set(kinds):
            numbers.add(field.name)
    assert numbers - set(RULES) <= {"local_rank"}
    assert set(LOOSER_RULES) <= set(RULES)


def test_numbers_become_pythons_own():
    plain = plain_value("seed", np.int64(3))
    assert (plain, type(plain)) == (3, int)
    count, share = plain_value("max_steps", 1e3), plain_value("eval_steps", np.float64(0.5))
    assert (count, type(count), share) == (1000, int, 0.5)
    # An epoch may be a part of one: 3.0 stays as it is.
    assert type(plain_value("num_train_epochs", 3.0)) is float
    assert plain_value("per_device_train_batch_size", 2.5) == 2.5


def test_a_refusal_of_transformers_is_one_of_ours(tmp_path):
    with pytest.raises(ConfigurationError, match="transformers refuses") as caught:
        build_arguments(str(tmp_path), {"debug": "nothing", "use_cpu": True})
    assert "'underflow_overflow'" in str(caught.value)
    with pytest.raises(ConfigurationError, match="argument seed"):
        build_arguments(str(tmp_path), {"seed": -1})


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({"seed": 2**40}, "argument seed"),
        ({"report_to": "wandbb"}, "argument report_to"),
        ({"early_stopping": 1, "save_strategy": "no"}, "argument save_strategy"),
        ({"dataloader_drop_last": True, "per_device_train_batch_size": 64},
         "arguments dataloader_drop_last, per_device_train_batch_size"),
        ({"metric_for_best_model": "acuracy"}, "argument metric_for_best_model"),
        ({"lr_scheduler_kwargs": {"speed": 1}}, "arguments lr_scheduler_type, lr_scheduler_kwargs"),
    ],
)  # fmt: skip
def test_finetune_refuses_before_anything_is_written(
    arguments, place, tiny_bert, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        fastft.finetune(tiny_bert, sentences(40), use_cpu=True, quiet=True, **arguments)
    assert caught.value.place == place
    assert list(tmp_path.iterdir()) == []


def test_early_stopping_ends_a_run_and_leaves_its_best_weights(tiny_bert, tmp_path):
    result = fastft.finetune(
        tiny_bert, sentences(40), early_stopping=1, eval_steps=2, num_train_epochs=50,
        learning_rate=0.1, use_cpu=True, quiet=True, output_dir=tmp_path / "run",
    )  # fmt: skip
    losses = [entry["eval_loss"] for entry in result.history if "eval_loss" in entry]
    assert len(losses) < 75  # 150 steps were asked for
    assert result.metrics["eval_loss"] == pytest.approx(min(losses), abs=1e-6)
    assert (result.plan["save_strategy"], result.plan["save_steps"]) == ("steps", 2)
