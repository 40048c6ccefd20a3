from __future__ import annotations

import pytest
import torch

from fastft.checks import (
    CheckReport,
    check_evaluation,
    check_max_length,
    checkpoint_bytes,
    raise_or_return,
    schedule_warnings,
    tokenizer_warnings,
)
from fastft.errors import ConfigurationError, Error
from fastft.modeling.freeze import choose_trainable
from tests.tiny import tiny_config, tiny_model, tiny_tokenizer


def test_strict_raises_the_first_warning_and_off_forgets_them():
    warnings = [Error("first"), Error("second")]
    assert raise_or_return(warnings, "warn") == ["first", "second"]
    assert raise_or_return(warnings, "off") == []
    with pytest.raises(Error, match="first"):
        raise_or_return(warnings, "strict")


def test_a_report_is_fine_when_nothing_is_doubtful():
    assert CheckReport((), ("a note",), {}).ok
    assert not CheckReport(("a warning",), (), {}).ok


@pytest.mark.parametrize(
    ("warmup", "steps", "warned"),
    [(500, 375, True), (375, 375, True), (374, 375, False), (0.1, 5, False), (0, 1, False)],
)
def test_a_warmup_that_never_ends(warmup, steps, warned):
    assert bool(list(schedule_warnings({"warmup_steps": warmup}, steps))) == warned


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({"learning_rate": 0.0}, "argument learning_rate"),
        ({"eval_steps": 5, "eval_strategy": "epoch"}, "argument eval_steps"),
        ({"save_steps": 5, "save_strategy": "no"}, "argument save_steps"),
        ({"save_steps": 5, "save_strategy": "steps", "learning_rate": 1e-9}, None),
    ],
)
def test_what_has_no_effect_is_a_warning(arguments, place):
    found = [warning.place for warning in schedule_warnings({"warmup_steps": 0, **arguments}, 9)]
    assert found == ([] if place is None else [place])


@pytest.mark.parametrize(
    "arguments",
    [
        {"load_best_model_at_end": True},
        {"eval_strategy": "steps"},
        {"eval_steps": 5},
        {"eval_on_start": True},
        {"save_strategy": "best"},
        {"lr_scheduler_type": "reduce_lr_on_plateau"},
        {"lr_scheduler_type": "greedy"},
    ],
)
def test_what_evaluates_needs_a_validation_split(arguments):
    check_evaluation(arguments, None, has_validation=True)
    with pytest.raises(ConfigurationError, match="needs a validation split") as caught:
        check_evaluation(arguments, None, has_validation=False)
    assert caught.value.place == f"argument {next(iter(arguments))}"


def test_what_does_not_evaluate_needs_no_validation_split():
    arguments = {"eval_strategy": "no", "save_strategy": "epoch", "lr_scheduler_type": "cosine"}
    check_evaluation(arguments, None, has_validation=False)


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "2"])
def test_early_stopping_is_a_number_of_evaluations(value):
    with pytest.raises(ConfigurationError, match="argument early_stopping"):
        check_evaluation({}, value, has_validation=True)


def test_the_tokenizer_of_the_model_raises_no_warning():
    assert list(tokenizer_warnings(tiny_tokenizer(), tiny_config())) == []


def test_rows_must_have_room_for_text():
    assert check_max_length(3, 64, 2) == 3
    with pytest.raises(ConfigurationError, match="at least 3"):
        check_max_length(2, 64, 2)


@pytest.mark.parametrize(
    ("arguments", "checkpoints"),
    [
        ({"save_strategy": "no"}, 0),
        ({"save_strategy": "epoch", "save_total_limit": 1}, 2),
        ({"save_strategy": "epoch", "save_total_limit": None}, 3),
        ({"save_strategy": "steps", "save_steps": 10}, 10),
        ({"save_strategy": "steps", "save_steps": 0.25}, 4),
        ({"save_strategy": "steps", "save_steps": 10, "save_total_limit": 3}, 4),
    ],
)
def test_the_disk_that_a_run_takes(arguments, checkpoints):
    model = tiny_model()
    total = sum(weight.numel() for weight in model.parameters())
    needed = checkpoint_bytes(model, {"num_train_epochs": 3, **arguments}, 100)
    assert needed == 4 * total + checkpoints * 12 * total


def test_frozen_weights_have_no_moments_on_disk():
    model = tiny_model()
    choose_trainable(model, "head", ())
    total = sum(weight.numel() for weight in model.parameters())
    arguments = {"num_train_epochs": 1, "save_strategy": "epoch"}
    assert checkpoint_bytes(model, arguments, 1) == 8 * total + 8 * 66


def test_the_estimate_is_close_to_what_a_checkpoint_takes(tmp_path):
    import fastft
    from tests.parity.recording import arguments
    from tests.tiny import sentences

    model = tiny_model(hidden_size=128, intermediate_size=512)
    texts = [text for text, _ in sentences(16)]
    trainer = fastft.Trainer(
        model,
        arguments(fastft.TrainingArguments, tmp_path, num_train_epochs=1, save_strategy="epoch"),
        train_dataset=fastft.TokenDataset.from_texts(
            texts, tiny_tokenizer(), columns={"labels": torch.arange(16).numpy() % 2}
        ),
        processing_class=tiny_tokenizer(),
    )
    trainer.train()
    files = (tmp_path / "checkpoint-1").rglob("*")
    found = sum(path.stat().st_size for path in files if path.is_file())
    weights = sum(weight.numel() for weight in model.parameters())
    assert found == pytest.approx(12 * weights, rel=0.05)
