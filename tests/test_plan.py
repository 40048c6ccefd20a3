from __future__ import annotations

import pytest

from fastft.errors import ConfigurationError
from fastft.training.plan import (
    Sizes,
    check_batches,
    default_max_length,
    describe_plan,
    max_positions,
    resolve_arguments,
    steps_per_epoch,
    total_steps,
)
from tests.tiny import tiny_config, tiny_tokenizer

SIZES = Sizes(num_examples=1000, has_validation=True, num_ranks=1)


def resolve(sizes=SIZES, train="full", model_type="bert", **given):
    return resolve_arguments(given, train=train, model_type=model_type, device="cpu", sizes=sizes)


def test_the_defaults():
    arguments = resolve()
    assert arguments["num_train_epochs"] == 3
    assert arguments["per_device_train_batch_size"] == 16
    assert arguments["weight_decay"] == 0.01
    assert arguments["learning_rate"] == 5e-5
    assert arguments["bf16"] is False
    assert arguments["seed"] == 42
    assert arguments["eval_strategy"] == "epoch"
    assert arguments["warmup_steps"] == 18  # a tenth of 3 x 63 steps


@pytest.mark.parametrize(
    ("train", "model_type", "rate"),
    [("full", "bert", 5e-5), ("head", "bert", 1e-3), ("full", "t5", 3e-4), ("head", "t5", 1e-3)],
)
def test_the_learning_rate_depends_on_what_is_trained(train, model_type, rate):
    assert resolve(train=train, model_type=model_type)["learning_rate"] == rate


def test_what_the_user_gives_is_kept():
    assert resolve(warmup_steps=500, learning_rate=1e-4)["warmup_steps"] == 500


def test_warmup_never_takes_more_than_500_steps():
    sizes = Sizes(num_examples=10**6, has_validation=True, num_ranks=1)
    assert resolve(sizes)["warmup_steps"] == 500


def test_without_validation_nothing_is_evaluated():
    assert resolve(Sizes(10, False, 1))["eval_strategy"] == "no"


@pytest.mark.parametrize(
    ("examples", "batch", "accumulation", "ranks", "steps"),
    [(1000, 16, 1, 1, 63), (1000, 16, 4, 1, 16), (1000, 16, 1, 2, 32), (1, 16, 1, 1, 1)],
)
def test_steps_of_an_epoch(examples, batch, accumulation, ranks, steps):
    arguments = {
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulation,
        "num_train_epochs": 2,
    }
    sizes = Sizes(examples, True, ranks)
    assert steps_per_epoch(arguments, sizes) == steps
    assert total_steps(arguments, sizes) == 2 * steps
    assert total_steps({**arguments, "max_steps": 5}, sizes) == 5


def test_batches_of_which_none_is_full_are_refused_when_the_last_is_dropped():
    arguments = {"per_device_train_batch_size": 32, "per_device_eval_batch_size": 4}
    rows = {"train": 63, "validation": 8}
    check_batches({**arguments, "dataloader_drop_last": True}, rows, 1)
    check_batches(arguments, rows, 2)
    with pytest.raises(ConfigurationError, match="63 rows for a batch of 64") as caught:
        check_batches({**arguments, "dataloader_drop_last": True}, rows, 2)
    assert "per_device_train_batch_size=31" in str(caught.value)
    with pytest.raises(ConfigurationError, match="validation split fills no batch"):
        check_batches({**arguments, "dataloader_drop_last": True}, {"validation": 3}, 1)


def test_a_secret_is_not_shown():
    assert describe_plan({"seed": 1, "hub_token": "hf_x"}) == "seed=1  hub_token=<HUB_TOKEN>"


def test_max_length_is_what_the_model_can_take_and_512_at_most():
    assert default_max_length(tiny_config(), tiny_tokenizer()) == 64
    wide = tiny_config(max_position_embeddings=4096)
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = 10**30
    assert max_positions(wide, tokenizer) == 4096
    assert default_max_length(wide, tokenizer) == 512


def test_relative_positions_set_no_limit():
    from transformers import T5Config

    assert max_positions(T5Config(), tiny_tokenizer()) is None
