"""When a run evaluates and saves so that its best weights are there at the end."""

from __future__ import annotations

import pytest
import transformers

from fastft.errors import ConfigurationError
from fastft.tasks.single_label import SingleLabel
from fastft.tasks.text_classification import TextClassification
from fastft.training.best_model import check_metrics
from fastft.training.plan import Sizes, resolve_arguments

NAMES = ("eval_strategy", "eval_steps", "save_strategy", "save_steps")


def resolve(early_stopping=None, **given):
    return resolve_arguments(
        given,
        train="full",
        model_type="bert",
        device="cpu",
        sizes=Sizes(num_examples=1000, has_validation=True, num_ranks=1),  # 189 steps
        early_stopping=early_stopping,
    )


def strategies(**given):
    arguments = resolve(**given)
    return tuple(arguments.get(name) for name in NAMES)


def test_early_stopping_alone_needs_nothing_else():
    arguments = resolve(early_stopping=2)
    assert arguments["load_best_model_at_end"] is True
    assert arguments["metric_for_best_model"] == "loss"
    assert strategies(early_stopping=2) == ("epoch", None, "epoch", None)


def test_without_it_no_metric_is_set():
    assert "metric_for_best_model" not in resolve()
    assert "load_best_model_at_end" not in resolve()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"eval_steps": 10}, ("steps", 10, "steps", 10)),
        ({"eval_strategy": "steps"}, ("steps", 9, "steps", 9)),  # as logging_steps
        ({"eval_strategy": "steps", "logging_steps": 5}, ("steps", 5, "steps", 5)),
        ({"save_steps": 20}, ("steps", 20, "steps", 20)),
        ({"save_strategy": "steps", "save_steps": 20}, ("steps", 20, "steps", 20)),
        ({"eval_steps": 10, "save_steps": 20}, ("steps", 10, "steps", 20)),
        ({"eval_steps": 0.1, "save_steps": 0.3}, ("steps", 0.1, "steps", 0.3)),
        ({"eval_strategy": "epoch"}, ("epoch", None, "epoch", None)),
        ({"save_strategy": "best"}, ("epoch", None, "best", None)),
        ({"save_strategy": "best", "eval_steps": 7}, ("steps", 7, "best", None)),
    ],
)
def test_what_is_left_open_follows_what_is_given(given, expected, tmp_path):
    assert strategies(early_stopping=1, **given) == expected
    assert strategies(load_best_model_at_end=True, **given) == expected
    transformers.TrainingArguments(str(tmp_path), **resolve(early_stopping=1, **given))


@pytest.mark.parametrize(
    ("given", "place", "fix"),
    [
        ({"save_strategy": "no"}, "argument save_strategy", "load_best_model_at_end=False"),
        ({"eval_strategy": "no"}, "argument eval_strategy", 'eval_strategy="epoch"'),
        (
            {"eval_strategy": "steps", "save_strategy": "epoch"},
            "arguments eval_strategy, save_strategy",
            "leave one of them out",
        ),
        ({"eval_steps": 10, "save_steps": 25}, "arguments eval_steps, save_steps", "save_steps=20"),
        ({"eval_steps": 10, "save_steps": 4}, "arguments eval_steps, save_steps", "save_steps=10"),
        ({"eval_steps": 0.1, "save_steps": 20}, "arguments eval_steps, save_steps", "=0.1"),
    ],
)
def test_what_contradicts_itself_is_refused_as_transformers_would(given, place, fix, tmp_path):
    for cause in ({"early_stopping": 1}, {"load_best_model_at_end": True}):
        with pytest.raises(ConfigurationError, match=next(iter(cause))) as caught:
            resolve(**cause, **given)
        assert caught.value.place == place
        assert fix in caught.value.fix
    full = {"eval_strategy": "steps", "save_strategy": "steps", **given}
    with pytest.raises(ValueError, match="load_best_model_at_end"):
        transformers.TrainingArguments(
            str(tmp_path), load_best_model_at_end=True, use_cpu=True, **full
        )


def test_early_stopping_without_checkpoints_keeps_the_last_weights():
    arguments = resolve(early_stopping=1, load_best_model_at_end=False, save_strategy="no")
    assert arguments["load_best_model_at_end"] is False
    assert arguments["metric_for_best_model"] == "loss"
    assert arguments["save_strategy"] == "no"


def test_a_number_of_steps_alone_decides_its_strategy():
    assert strategies(save_steps=20) == ("epoch", None, "steps", 20)
    assert strategies(eval_steps=20) == ("steps", 20, "epoch", None)
    assert strategies(eval_steps=20, eval_strategy="epoch") == ("epoch", 20, "epoch", None)
    assert strategies(save_steps=20, save_strategy="no") == ("epoch", None, "no", 20)


def test_the_best_checkpoint_needs_evaluations():
    assert resolve(save_strategy="best")["metric_for_best_model"] == "loss"
    with pytest.raises(ConfigurationError, match="save_strategy compares evaluations"):
        resolve(save_strategy="best", eval_strategy="no")


METRICS = SingleLabel.metric_names


@pytest.mark.parametrize("metric", [None, "loss", "eval_loss", "accuracy", "eval_f1_macro"])
def test_a_metric_of_the_task_is_taken(metric):
    check_metrics({"metric_for_best_model": metric}, METRICS)


@pytest.mark.parametrize(
    ("metric", "fix"),
    [("acuracy", "did you mean 'accuracy'?"), ("eval_acuracy", "did you mean 'accuracy'?"),
     ("bleu", "pass one of them"), ("eval_runtime", "pass one of them")],
)  # fmt: skip
def test_another_metric_is_answered_with_the_nearest(metric, fix):
    with pytest.raises(ConfigurationError, match="'loss', 'accuracy', 'f1_macro'") as caught:
        check_metrics({"metric_for_best_model": metric}, METRICS)
    assert caught.value.place == "argument metric_for_best_model"
    assert caught.value.fix == fix


def test_without_predictions_the_loss_is_the_only_metric():
    arguments = {"prediction_loss_only": True, "metric_for_best_model": "accuracy"}
    with pytest.raises(ConfigurationError, match=r"expected: 'loss'\n"):
        check_metrics(arguments, METRICS)
    check_metrics({**arguments, "metric_for_best_model": "loss"}, METRICS)


@pytest.mark.parametrize(
    ("metric", "right"), [("loss", False), ("eval_loss", False), ("accuracy", True)]
)
def test_the_worst_model_is_never_kept(metric, right):
    check_metrics({"metric_for_best_model": metric, "greater_is_better": right}, METRICS)
    check_metrics({"metric_for_best_model": metric, "greater_is_better": None}, METRICS)
    with pytest.raises(ConfigurationError, match="argument greater_is_better: the worst model"):
        check_metrics({"metric_for_best_model": metric, "greater_is_better": not right}, METRICS)


def test_the_direction_of_a_metric_is_that_of_the_task():
    def direction(metric, **given):
        arguments = {"metric_for_best_model": metric, **given}
        return check_metrics(arguments, ("accuracy", "perplexity"), ("perplexity",))

    assert direction(None) == {}
    assert direction("loss") == {"greater_is_better": False}
    assert direction("eval_accuracy") == {"greater_is_better": True}
    assert direction("perplexity") == {"greater_is_better": False}
    with pytest.raises(ConfigurationError, match="less is better"):
        direction("perplexity", greater_is_better=True)


@pytest.mark.parametrize(
    ("name", "value"), [("batch_eval_metrics", True), ("eval_do_concat_batches", False)]
)
def test_forms_of_evaluation_that_give_no_metrics_are_refused(name, value):
    check_metrics({name: not value}, METRICS)
    with pytest.raises(ConfigurationError, match=f"argument {name}"):
        check_metrics({name: value}, METRICS)


def test_the_names_are_those_that_the_task_gives():
    import numpy as np

    task = TextClassification("text", None, SingleLabel("label", ("a", "b")))
    prediction = transformers.EvalPrediction(np.eye(2), np.array([0, 1]))
    assert tuple(task.compute_metrics(prediction, None)) == METRICS
