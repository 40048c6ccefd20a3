from __future__ import annotations

import numpy as np
import pytest
from transformers.trainer_utils import IntervalStrategy

from fastft.errors import ArgumentError, ConfigurationError
from fastft.training.argument_names import RENAMED, TRANSLATED, WITHOUT_EFFECT, modern_arguments
from fastft.training.arguments import (
    RenamedArgumentWarning,
    TrainingArguments,
    known_argument_names,
)

KNOWN = known_argument_names()


@pytest.mark.parametrize("old", [name for name in RENAMED if name not in KNOWN])
def test_a_renamed_argument_keeps_its_value_and_is_noted(old):
    arguments, notes = modern_arguments({old: 7}, KNOWN)
    assert arguments == {RENAMED[old]: 7}
    assert notes == [f"{old} is called {RENAMED[old]} now"]


def test_every_new_name_exists():
    given = {"warmup_ratio": 0.1, "group_by_length": True, "include_inputs_for_metrics": True}
    assert set(given) == set(TRANSLATED)
    targets = [*RENAMED.values(), *(TRANSLATED[name](value)[0] for name, value in given.items())]
    assert set(targets) <= set(KNOWN)


@pytest.mark.parametrize("old", [name for name in WITHOUT_EFFECT if name not in KNOWN])
def test_an_argument_without_effect_is_dropped_and_noted(old):
    arguments, notes = modern_arguments({old: "x"}, KNOWN)
    assert arguments == {}
    assert notes[0].startswith(f"{old} has no effect: ")


def test_group_by_length_becomes_a_sampling_strategy():
    arguments, _ = modern_arguments({"group_by_length": True}, KNOWN)
    assert arguments == {"train_sampling_strategy": "group_by_length"}


def test_the_warmup_ratio_becomes_a_share_of_steps():
    assert modern_arguments({"warmup_ratio": 0.1}, KNOWN)[0] == {"warmup_steps": 0.1}


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), "x", None, True, [0.1]])
def test_a_warmup_ratio_that_is_no_share_is_refused(value):
    with pytest.raises(ConfigurationError, match="warmup_steps=<number>") as caught:
        modern_arguments({"warmup_ratio": value}, KNOWN)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("name", ["group_by_length", "include_inputs_for_metrics"])
def test_an_old_flag_is_true_or_false(name):
    with pytest.raises(ConfigurationError, match=f"argument {name}: .* wrong kind"):
        modern_arguments({name: "yes"}, KNOWN)


def test_numpy_values_become_those_of_python():
    given = {
        "seed": np.int64(3), "bf16": np.bool_(True), "learning_rate": np.float64(0.1),
        "warmup_ratio": np.float64(0.25), "epochs": np.int32(2), "max_steps": 1e3,
        "eval_strategy": IntervalStrategy.EPOCH,
    }  # fmt: skip
    arguments, _ = modern_arguments(given, KNOWN)
    assert arguments == {
        "seed": 3, "bf16": True, "learning_rate": 0.1, "warmup_steps": 0.25,
        "num_train_epochs": 2, "max_steps": 1000, "eval_strategy": "epoch",
    }  # fmt: skip
    kinds = [type(value) for value in arguments.values()]
    assert kinds == [int, bool, float, float, int, int, str]


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ArgumentError) as caught:
        modern_arguments({"num_train_epoch": 1}, KNOWN)
    assert "there is no argument 'num_train_epoch'" in str(caught.value)
    assert "did you mean num_train_epochs" in str(caught.value)


def test_old_and_new_name_together_are_refused():
    with pytest.raises(ArgumentError, match="given twice"):
        modern_arguments({"epochs": 1, "num_train_epochs": 2}, KNOWN)


def test_the_classic_arguments_are_taken(tmp_path):
    with pytest.warns(RenamedArgumentWarning) as caught:
        arguments = TrainingArguments(
            output_dir=str(tmp_path),
            num_train_epochs=3,
            per_device_train_batch_size=16,
            per_device_eval_batch_size=16,
            warmup_steps=500,
            weight_decay=0.01,
            logging_dir="logs",
            evaluation_strategy="epoch",
        )
    assert arguments.eval_strategy.value == "epoch"
    assert arguments.warmup_steps == 500
    assert sorted(str(warning.message).split()[0] for warning in caught) == [
        "evaluation_strategy",
        "logging_dir",
    ]


def test_output_dir_may_stand_first(tmp_path):
    assert TrainingArguments(str(tmp_path)).output_dir == str(tmp_path)
