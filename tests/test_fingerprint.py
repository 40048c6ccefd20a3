from __future__ import annotations

import copy
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import fastft
from fastft.training.differences import differences
from fastft.training.fingerprint import (
    data_fingerprint,
    fingerprint_text,
    model_fingerprint,
    run_fingerprint,
)
from tests.tiny import sentences, tiny_model, tiny_tokenizer


def dataset(rows, **options):
    texts, names = zip(*rows, strict=True)
    labels = np.array([name == "positive" for name in names], dtype=np.int64)
    return fastft.TokenDataset.from_texts(
        list(texts), tiny_tokenizer(), max_length=64, columns={"labels": labels}, **options
    )


def fingerprint(tmp_path, options=None, rows=None, model=None, name="tiny", new=(), **arguments):
    """A fingerprint as it is read back from its file."""
    given = {"num_train_epochs": 3, "use_cpu": True, "report_to": "none", **arguments}
    plan = {"task": "text-classification", "train": "full", "max_length": 64, "num_ranks": 1}
    overrides = {"num_labels": 2, "id2label": {0: "negative", 1: "positive"}, "label2id": {}}
    total_steps = given.get("max_steps") or 10 * given["num_train_epochs"]
    built = run_fingerprint(
        {"early_stopping": None, "check": "warn", "train": "full"},
        {**plan, "total_steps": total_steps, **(options or {})},
        arguments=fastft.TrainingArguments(output_dir=str(tmp_path), **given),
        task=SimpleNamespace(config_overrides=lambda: overrides),
        datasets={"train": dataset(rows or sentences(20))},
        tokenizer=tiny_tokenizer(),
        model=model_fingerprint(model or tiny_model(), name, new),
    )
    return json.loads(fingerprint_text(built))


def named(call, run):
    return [difference.name for difference in differences(call, run)]


def test_the_same_call_has_the_same_fingerprint(tmp_path):
    assert fingerprint(tmp_path) == fingerprint(tmp_path)


@pytest.mark.parametrize(
    "argument",
    [
        {"learning_rate": 1e-3},
        {"seed": 7},
        {"data_seed": 7},
        {"per_device_train_batch_size": 4},
        {"weight_decay": 0.2},
        {"optim": "sgd"},
        {"warmup_steps": 3},
        {"label_smoothing_factor": 0.1},
        {"max_grad_norm": 0.5},
        {"dataloader_drop_last": True},
    ],
)
def test_an_argument_that_changes_the_numbers_is_named(tmp_path, argument):
    (name,) = argument
    (difference,) = differences(fingerprint(tmp_path, **argument), fingerprint(tmp_path))
    assert difference.name == name
    assert difference.found == repr(argument[name])


def test_arguments_that_change_no_number_may_differ(tmp_path):
    other = fingerprint(
        tmp_path / "elsewhere",
        logging_steps=3,
        save_steps=7,
        eval_strategy="steps",
        eval_steps=2,
        per_device_eval_batch_size=2,
        save_total_limit=4,
        run_name="b",
        activation_checkpointing=True,
        dataloader_num_workers=2,
    )
    assert named(other, fingerprint(tmp_path)) == []


def test_when_to_evaluate_counts_where_the_best_model_is_taken(tmp_path):
    best = {"load_best_model_at_end": True, "eval_strategy": "steps", "save_steps": 10}
    call = fingerprint(tmp_path, eval_steps=5, **best)
    assert named(call, fingerprint(tmp_path, eval_steps=10, **best)) == ["eval_steps"]


def test_settings_of_fastft_are_named(tmp_path):
    call = fingerprint(tmp_path, {"train": "head", "max_length": 32})
    assert sorted(named(call, fingerprint(tmp_path))) == ["max_length", "train"]


def test_a_step_may_be_divided_otherwise(tmp_path):
    call = fingerprint(tmp_path, {"num_ranks": 2}, gradient_accumulation_steps=3)
    run = fingerprint(tmp_path, {"num_ranks": 3}, gradient_accumulation_steps=2)
    assert call["division"] == {"num_ranks": 2, "gradient_accumulation_steps": 3}
    assert differences(call, run) == []
    (other,) = differences(call, fingerprint(tmp_path))
    assert other.name == "gradient_accumulation_steps"
    assert (other.found, other.expected) == ("3 on 2 processes", "1 on 1 process")


def test_an_option_that_is_new_to_fastft_is_compared(tmp_path):
    call, run = fingerprint(tmp_path), fingerprint(tmp_path)
    call["settings"]["some_weights"], run["settings"]["some_weights"] = "balanced", None
    assert named(call, run) == ["some_weights"]


def test_an_argument_that_only_one_version_knows_is_not_compared(tmp_path):
    call, run = fingerprint(tmp_path), fingerprint(tmp_path)
    call["settings"]["new_in_transformers_9"] = 1
    assert named(call, run) == []


# -- length --------------------------------------------------------------------------------------


def test_a_longer_run_is_another_one_where_the_schedule_depends_on_the_length(tmp_path):
    call = fingerprint(tmp_path, num_train_epochs=5, warmup_steps=0.1)
    (difference,) = differences(call, fingerprint(tmp_path, warmup_steps=0.1))
    assert difference.name == "num_train_epochs"  # the share for the warm-up follows from it
    assert difference.found == "5 (50 steps)"
    assert difference.expected.startswith("3 (30 steps), because with lr_scheduler_type='linear'")


def test_a_run_of_constant_rate_may_become_longer_or_shorter(tmp_path):
    run = fingerprint(tmp_path, lr_scheduler_type="constant", warmup_steps=0.1)
    for epochs in (2, 5):
        call = fingerprint(
            tmp_path, lr_scheduler_type="constant", warmup_steps=0.2, num_train_epochs=epochs
        )
        assert named(call, run) == []


def test_the_warm_up_must_stay_where_it_counts(tmp_path):
    options = {"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 0.1}
    call = fingerprint(tmp_path, num_train_epochs=5, **options)
    assert named(call, fingerprint(tmp_path, **options)) == ["warmup_steps"]
    assert named(fingerprint(tmp_path, num_train_epochs=5, **{**options, "warmup_steps": 3}),
                 fingerprint(tmp_path, **options)) == []  # fmt: skip


def test_the_same_length_may_be_asked_for_in_steps(tmp_path):
    assert named(fingerprint(tmp_path, max_steps=30), fingerprint(tmp_path)) == []


# -- data ----------------------------------------------------------------------------------------


def test_data_says_what_changed(tmp_path):
    rows = sentences(20)
    run = fingerprint(tmp_path, rows=rows)

    def difference(changed):
        (one,) = differences(fingerprint(tmp_path, rows=changed), run)
        return f"{one.name}: {one.found}"

    flip = {"positive": "negative", "negative": "positive"}
    other_label = [*rows[:-1], (rows[-1][0], flip[rows[-1][1]])]
    assert difference(other_label) == "train data: 20 rows with other labels"
    assert difference([("plot", rows[0][1]), *rows[1:]]) == "train data: 20 rows with other texts"
    assert difference(rows[:19]) == "train data: 19 rows"
    assert "texts and labels" in difference(sorted(rows))


def test_a_split_that_only_one_has_is_named(tmp_path):
    call, run = fingerprint(tmp_path), fingerprint(tmp_path)
    call["data"]["validation"] = data_fingerprint(dataset(sentences(5)))
    (difference,) = differences(call, run)
    assert (difference.name, difference.expected) == ("validation data", "none")


def test_data_that_another_seed_or_length_cuts_is_not_named_again(tmp_path):
    call = fingerprint(tmp_path, seed=7, rows=sentences(20, seed=1))
    assert named(call, fingerprint(tmp_path)) == ["seed"]


def test_type_ids_are_part_of_the_texts():
    texts = [text for text, _ in sentences(10)]
    pairs = fastft.TokenDataset.from_texts(texts, tiny_tokenizer(), text_pair=texts[::-1])
    type_ids = ("second_segment_starts", "token_type_ids")
    arrays = {name: array for name, array in pairs.arrays().items() if name not in type_ids}
    one_segment = fastft.TokenDataset.from_arrays(arrays)
    np.testing.assert_array_equal(one_segment.ids, pairs.ids)
    assert data_fingerprint(one_segment)["texts"] != data_fingerprint(pairs)["texts"]


# -- model ---------------------------------------------------------------------------------------


def test_another_checkpoint_of_the_same_shape_is_another_model(tmp_path):
    call = fingerprint(tmp_path, model=tiny_model(1), name="other")
    (difference,) = differences(call, fingerprint(tmp_path))
    assert difference.found == "other, with other weights"
    assert difference.expected == "tiny"


def test_a_model_that_was_moved_is_the_same(tmp_path):
    assert named(fingerprint(tmp_path, name="/moved/tiny"), fingerprint(tmp_path)) == []


def test_weights_that_the_seed_decides_do_not_count(tmp_path):
    model = tiny_model()
    with torch.no_grad():
        model.classifier.weight.fill_(1)
    head = ("classifier.weight",)
    call = fingerprint(tmp_path, model=model, new=head)
    assert named(call, fingerprint(tmp_path, new=head)) == []


def test_the_weights_of_an_object_are_not_looked_at(tmp_path):
    call = fingerprint(tmp_path, model=tiny_model(1), name=None)
    assert named(call, fingerprint(tmp_path)) == []


def test_another_configuration_and_other_frozen_weights_are_named(tmp_path):
    run = fingerprint(tmp_path)
    call = fingerprint(tmp_path, model=tiny_model(hidden_dropout_prob=0.1))
    assert named(call, run) == ["model configuration, hidden_dropout_prob"]
    model = tiny_model()
    model.bert.embeddings.requires_grad_(False)
    (difference,) = differences(fingerprint(tmp_path, model=model), run)
    assert difference.found == "other weights are frozen"


def test_other_labels_are_named_and_what_follows_from_them_is_not(tmp_path):
    run = fingerprint(tmp_path)
    call = copy.deepcopy(run)
    call["settings"]["labels"] = ["bad", "good"]
    call["model"]["shapes"] = "other"
    assert named(call, run) == ["labels"]


def test_long_lists_are_shown_by_what_the_other_one_lacks(tmp_path):
    run = fingerprint(tmp_path)
    call = copy.deepcopy(run)
    run["settings"]["labels"] = [f"class {n}" for n in range(100)]
    call["settings"]["labels"] = [*run["settings"]["labels"][:99], "new"]
    (difference,) = differences(call, run)
    assert difference.found == "100 entries, among them ['new']"
    assert difference.expected == "100 entries, among them ['class 99']"
