from __future__ import annotations

import pytest

from fastft.errors import ArgumentError, ConfigurationError
from fastft.training.argument_names import RENAMED, TRANSLATED, WITHOUT_EFFECT, modern_arguments
from fastft.training.arguments import (
    RenamedArgumentWarning,
    TrainingArguments,
    check_types,
    known_argument_names,
)

KNOWN = known_argument_names()


@pytest.mark.parametrize("old", [name for name in RENAMED if name not in KNOWN])
def test_a_renamed_argument_keeps_its_value_and_is_noted(old):
    arguments, notes = modern_arguments({old: 7}, KNOWN)
    assert arguments == {RENAMED[old]: 7}
    assert notes == [f"{old} is called {RENAMED[old]} now"]


def test_every_new_name_exists():
    targets = [*RENAMED.values(), *(rule(0)[0] for rule in TRANSLATED.values())]
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
    with pytest.raises(ConfigurationError, match="warmup_steps=<number>"):
        modern_arguments({"warmup_ratio": 1.5}, KNOWN)


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


@pytest.mark.parametrize(
    "arguments",
    [
        {"learning_rate": "fast"},
        {"warmup_steps": "abc"},
        {"num_train_epochs": True},
        {"max_steps": "7"},
        {"seed": None},
        {"use_cpu": "yes"},
        {"load_best_model_at_end": 1},
        {"weight_decay": "auto"},
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_name(arguments):
    with pytest.raises(ConfigurationError) as caught:
        check_types(arguments)
    (name,) = arguments
    assert f"argument {name}" in str(caught.value)
    assert repr(arguments[name]) in str(caught.value)


def test_numbers_flags_and_autos_of_the_right_kind_pass():
    check_types(
        {"learning_rate": "auto", "warmup_steps": 0.1, "bf16": "auto", "use_cpu": True,
         "seed": 1, "save_total_limit": None, "report_to": ["tensorboard"], "max_steps": -1}
    )  # fmt: skip
