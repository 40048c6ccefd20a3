"""Optimizers and schedules that cannot be built are found before the run."""

from __future__ import annotations

import pytest
import torch
import transformers

from fastft.errors import ConfigurationError
from fastft.training.optimizer import check_optimizer
from tests.tiny import tiny_model


def check(folder, **arguments):
    built = transformers.TrainingArguments(str(folder), use_cpu=True, **arguments)
    check_optimizer(built, tiny_model(), 10)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"optim": "sgd", "learning_rate": 0.0},
        {"optim": "adafactor", "warmup_steps": 0.1},
        {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "epoch"},
        {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.1}},
    ],
)
def test_what_can_be_built_passes_and_draws_nothing(arguments, tmp_path):
    torch.manual_seed(0)
    expected = torch.rand(1)
    model = tiny_model()
    built = transformers.TrainingArguments(str(tmp_path), use_cpu=True, **arguments)
    torch.manual_seed(0)
    check_optimizer(built, model, 10)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"optim": "galore_adamw"}, "galore"),
        ({"optim": "adamw_torch", "optim_args": "junk"}, "optim_args='junk'"),
        ({"lr_scheduler_type": "cosine_with_min_lr"}, "min_lr"),
        ({"lr_scheduler_kwargs": {"speed": 1}}, "'speed'"),
        ({"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"lr_end": 1.0}}, "lr_end"),
    ],
)
def test_what_cannot_be_built_is_one_of_our_errors(arguments, part, tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be built") as caught:
        check(tmp_path, **arguments)
    assert part in caught.value.found
    assert next(iter(arguments)) in caught.value.place
