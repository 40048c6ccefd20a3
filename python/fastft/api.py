"""`finetune` and `check`: what users call."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from fastft.console import Console
from fastft.request import CHECKS, OPTION_NAMES, TASKS, Request, check_choice

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from fastft.checks import CheckReport
    from fastft.result import FinetuneResult


def finetune(
    model: str | Path | PreTrainedModel,
    data: Any,
    task: str = "auto",
    *,
    tokenizer: PreTrainedTokenizerBase | str | Path | None = None,
    text: str | None = None,
    pair: str | None = None,
    label: str | None = None,
    label_names: Sequence[str] | None = None,
    layout: str = "auto",
    quoting: bool = False,
    encoding: str = "utf-8",
    validation: Any = "auto",
    max_length: int | str = "auto",
    train: str = "full",
    early_stopping: int | None = None,
    check: str = "warn",
    resume: bool | str = False,
    output_dir: str | Path | None = None,
    quiet: bool = False,
    **training_arguments: Any,
) -> FinetuneResult:
    """Fine-tunes a model on data.

    Args:
        model: A hub name, a folder, or a `PreTrainedModel`.
        data: A folder, a file, `{"train": ..., "validation": ...}`, a list of `(text, label)`, a
            dict of columns, or anything that speaks Arrow (datasets, pandas, polars, pyarrow).
        task: "text-classification", or "auto".
        tokenizer: The tokenizer; needed when `model` is an object, else the model's own.
        text: The text column. Recognised by its name when not given.
        pair: The second text column, for tasks on sentence pairs.
        label: The label column. Recognised by its name when not given.
        label_names: The classes in the order of their ids, when the data does not say.
        layout: How a folder is read: "auto", "table", "label-files" or "label-folders".
        quoting: Whether quotes enclose fields in tsv files.
        encoding: The encoding of text files.
        validation: "auto" for the data's own split or a tenth of each label, a share, other data,
            or None for no validation.
        max_length: Tokens a row, or "auto": the model's positions, at most 512.
        train: "full", or "head" to train the last layer alone.
        early_stopping: Ends the run after so many evaluations without a better validation loss.
        check: "warn" prints doubtful settings, "strict" stops at them, "off" does not look.
        resume: "auto" goes on with an interrupted run in the output folder.
        output_dir: Where the files go; `runs/<model>-<data>-<n>` when not given.
        quiet: Print nothing.
        **training_arguments: Any argument of `transformers.TrainingArguments`. Defaults here:
            3 epochs, batch 16, weight decay 0.01, warm-up min(500, 10 % of the steps), learning
            rate 5e-5 (head 1e-3, T5 3e-4), bf16 where a GPU has it, seed 42.

    Returns:
        Model, tokenizer, metrics, history, plan, timing; `.predict(texts)`, `.evaluate(data)`,
        `.save(folder)`.

    Raises:
        Error: Something about the arguments, the data, the model or the disk cannot work; nothing
            has been written then.

    Example:
        >>> result = fastft.finetune("bert-base-uncased", "data/")     # doctest: +SKIP
        >>> result.metrics["eval_accuracy"]                            # doctest: +SKIP
        0.93
    """
    arguments = locals()
    from fastft.training.timing import Timing

    timing = Timing()
    options = {name: arguments[name] for name in OPTION_NAMES}
    request = _request(model, data, options, training_arguments)

    from fastft.job import Job
    from fastft.run import train as run

    job = Job(request, Console(quiet=quiet), timing)
    job.prepare()
    return run(job)


def check(model: str | Path | PreTrainedModel, data: Any, **arguments: Any) -> CheckReport:
    """Looks at everything that `finetune` would look at, and trains nothing, writes nothing.

    Args:
        model: As in `finetune`.
        data: As in `finetune`.
        **arguments: Every other argument of `finetune`.

    Returns:
        Warnings, notes and the plan.

    Raises:
        Error: The run could not start.
    """
    parameters = inspect.signature(finetune).parameters
    options = {name: arguments.pop(name, parameters[name].default) for name in OPTION_NAMES}
    console = Console(quiet=bool(arguments.pop("quiet", False)))
    request = _request(model, data, options, arguments)

    from fastft.job import Job

    job = Job(request, console)
    job.prepare()
    return job.report()


def _request(model: Any, data: Any, options: dict[str, Any], training: dict[str, Any]) -> Request:
    """Checks names and choices; loads nothing but the list of argument names."""
    from fastft.modeling.freeze import TRAIN_MODES
    from fastft.training.argument_names import modern_arguments
    from fastft.training.arguments import check_types, known_argument_names

    check_choice("task", options["task"], TASKS)
    check_choice("train", options["train"], TRAIN_MODES)
    check_choice("check", options["check"], CHECKS)
    if options["resume"] is not False:
        check_choice("resume", options["resume"], ("auto",))
    arguments, notes = modern_arguments(training, [*known_argument_names(), *OPTION_NAMES])
    check_types(arguments)
    return Request(model, data, options, arguments, tuple(notes))
