"""The best model: when a run evaluates and saves, so that the best weights are there at its end.

Early stopping and `load_best_model_at_end` need an evaluation beside every checkpoint. What the
user leaves open is set to fit what is given; what contradicts itself is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastft.errors import ConfigurationError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# argument -> the value with which the metrics of a task cannot be computed
NO_METRICS = {"batch_eval_metrics": True, "eval_do_concat_batches": False}


def settle_strategies(arguments: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Lets a number of steps that is given alone decide its strategy.

    `save_steps=100` without `save_strategy` would do nothing, as checkpoints come by the epoch.

    Args:
        arguments: Given and default values together; changed in place.
        given: What the user gave.
    """
    if given.get("eval_steps") is not None and arguments["eval_strategy"] == "auto":
        arguments["eval_strategy"] = "steps"
    if "save_steps" in given and "save_strategy" not in given:
        arguments["save_strategy"] = "steps"


def settle_best_model(
    arguments: dict[str, Any], given: Mapping[str, Any], early_stopping: int | None
) -> None:
    """Fills in what early stopping and `load_best_model_at_end` need beside them.

    Args:
        arguments: Training arguments, no "auto" left; changed in place.
        given: What the user gave.
        early_stopping: Evaluations without improvement that end the run, or None.

    Raises:
        ConfigurationError: What is given contradicts itself.
    """
    if early_stopping is not None:
        arguments.setdefault("load_best_model_at_end", True)
    loads_best = bool(arguments.get("load_best_model_at_end"))
    if not (loads_best or early_stopping is not None or arguments["save_strategy"] == "best"):
        return
    if arguments.get("metric_for_best_model") is None:
        arguments["metric_for_best_model"] = "loss"
    reason = "load_best_model_at_end" if early_stopping is None else "early_stopping"
    reason = reason if loads_best or early_stopping is not None else "save_strategy"
    if arguments["eval_strategy"] == "no":
        raise ConfigurationError(
            f"{reason} compares evaluations, and there is none",
            place="argument eval_strategy",
            found="'no'",
            expected="'epoch' or 'steps'",
            fix='pass eval_strategy="epoch", or leave it out',
        )
    if loads_best and arguments["save_strategy"] != "best":
        _match_strategies(arguments, given, reason)


def _match_strategies(arguments: dict[str, Any], given: Mapping[str, Any], reason: str) -> None:
    gives_evaluation = given.get("eval_strategy", "auto") != "auto" or bool(given.get("eval_steps"))
    gives_saving = "save_strategy" in given or "save_steps" in given
    if arguments["save_strategy"] == "no":
        raise ConfigurationError(
            f"{reason} goes back to the best checkpoint, and none is saved",
            place="argument save_strategy",
            found="'no'",
            expected="checkpoints beside the evaluations",
            fix="leave save_strategy out, or pass load_best_model_at_end=False to keep the last "
            "weights",
        )
    if gives_evaluation and not gives_saving:
        arguments["save_strategy"] = arguments["eval_strategy"]
    elif gives_saving and not gives_evaluation:
        arguments["eval_strategy"] = arguments["save_strategy"]
    found = f"eval_strategy={arguments['eval_strategy']!r}, "
    found += f"save_strategy={arguments['save_strategy']!r}"
    if arguments["eval_strategy"] != arguments["save_strategy"]:
        raise ConfigurationError(
            f"{reason} needs a checkpoint of every evaluation",
            place="arguments eval_strategy, save_strategy",
            found=found,
            expected="the same strategy",
            fix="leave one of them out: it follows the other",
        )
    if arguments["eval_strategy"] == "steps":
        _match_steps(arguments, reason)


def _match_steps(arguments: dict[str, Any], reason: str) -> None:
    every_evaluation = arguments.get("eval_steps")
    every_save = arguments.get("save_steps")
    if every_evaluation is None:
        every_evaluation = arguments["logging_steps"] if every_save is None else every_save
    if every_save is None:
        every_save = every_evaluation
    arguments.update(eval_steps=every_evaluation, save_steps=every_save)
    mixed = (every_evaluation < 1) != (every_save < 1)
    ratio = every_save / every_evaluation
    if mixed or abs(ratio - round(ratio)) > 1e-9 or round(ratio) < 1:
        multiple = every_evaluation * max(1, round(ratio))
        raise ConfigurationError(
            f"{reason} needs an evaluation at every checkpoint",
            place="arguments eval_steps, save_steps",
            found=f"an evaluation every {every_evaluation:g}, a checkpoint every {every_save:g}",
            expected="save_steps as a multiple of eval_steps"
            + (", both as steps or both as shares" if mixed else ""),
            fix=f"pass save_steps={every_evaluation if mixed else multiple:g}, or leave it out",
        )


def check_metrics(
    arguments: Mapping[str, Any],
    metric_names: Sequence[str],
    lower_is_better: Sequence[str] = (),
) -> dict[str, bool]:
    """Holds `metric_for_best_model` and its direction against what the task measures.

    transformers takes every metric whose name does not end in "loss" for one of which more is
    better; of a perplexity it would keep the worst.

    Args:
        arguments: Training arguments, no "auto" left.
        metric_names: The metrics of the task.
        lower_is_better: Those of them of which less is better.

    Returns:
        `greater_is_better` as it has to be, or nothing where no metric was asked for.

    Raises:
        ConfigurationError: There is no such metric, it cannot be computed, or the worst model would
            be kept.
    """
    for name, value in NO_METRICS.items():
        if arguments.get(name) is value:
            raise ConfigurationError(
                f"the metrics of a task cannot be computed with {name}={value}",
                place=f"argument {name}",
                found=repr(value),
                expected=repr(not value),
                fix=f"remove {name}; eval_accumulation_steps saves memory in evaluation",
            )
    if arguments.get("metric_for_best_model") is None:
        return {}
    scores = () if arguments.get("prediction_loss_only") else tuple(metric_names)
    name = _known_metric(arguments["metric_for_best_model"], ("loss", *scores))
    is_greater_better = name not in ("loss", *lower_is_better)
    if arguments.get("greater_is_better") is (not is_greater_better):
        raise ConfigurationError(
            "the worst model would be kept",
            place="argument greater_is_better",
            found=f"greater_is_better={not is_greater_better} for {name}",
            expected=f"{is_greater_better}: "
            + ("more is better" if is_greater_better else "less is better"),
            fix="leave greater_is_better out: it follows from the metric",
        )
    return {"greater_is_better": is_greater_better}


def _known_metric(metric: str, names: Sequence[str]) -> str:
    name = metric.removeprefix("eval_")
    if name not in names:
        close = nearest(name, names, count=1)
        raise ConfigurationError(
            "there is no such metric",
            place="argument metric_for_best_model",
            found=repr(metric),
            expected=", ".join(map(repr, names)),
            fix=f"did you mean {close[0]!r}?" if close else "pass one of them",
        )
    return name
