"""`finetune` and `check`: what users call."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.console import Console
from fastft.request import (
    CHECKS,
    OPTION_NAMES,
    Request,
    check_choice,
    check_options,
    check_path,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from fastft.checks import CheckReport
    from fastft.finetuned import FinetunedModel
    from fastft.result import FinetuneResult


def finetune(
    model: str | Path | PreTrainedModel,
    data: Any,
    task: str = "auto",
    *,
    tokenizer: PreTrainedTokenizerBase | str | Path | None = None,
    text: str | None = None,
    pair: str | None = None,
    label: str | Sequence[str] | None = None,
    label_names: Sequence[str] | None = None,
    layout: str = "auto",
    quoting: bool = False,
    encoding: str = "utf-8",
    validation: Any = "auto",
    max_length: int | str = "auto",
    train: str = "full",
    lora: dict[str, Any] | None = None,
    dropout: float | None = None,
    early_stopping: int | None = None,
    batching: str = "random",
    max_tokens: int | None = None,
    fuse_head: bool | str = "auto",
    padding_free: bool | str = "auto",
    sparse_embedding: bool | str = "auto",
    frozen_cache: str = "auto",
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
        task: "text-classification", "question-answering", "translation", "summarization",
            "seq2seq", "causal-lm", "chat", "masked-lm", or "auto": columns and model decide.
        tokenizer: The tokenizer; needed when `model` is an object, else the model's own.
        text: The text column. Recognised by its name when not given.
        pair: The second text column, for tasks on sentence pairs.
        label: The label column, or a list of columns of 0 and 1, a class each. Recognised by its
            name when not given.
        label_names: The classes in the order of their ids, when the data does not say.
        layout: How a folder is read: "auto", "table", "label-files" or "label-folders".
        quoting: Whether quotes enclose fields in tsv files.
        encoding: The encoding of text files.
        validation: "auto" for the data's own split or a tenth of each label, a share, other data,
            or None for no validation.
        max_length: Tokens a row, or "auto": the model's positions, at most 512.
        train: "full" for every weight, "head" for the output layer alone, "last:N" for the last N
            layers and the output, "lora" for adapters beside frozen weights.
        lora: Arguments of `peft.LoraConfig` for `train="lora"`, such as `{"r": 8}`.
        dropout: Sets every dropout probability of the model.
        early_stopping: Ends the run after so many evaluations without a better validation loss.
        batching: "random" for the batches of the stock Trainer; "bucketed" puts rows of like length
            together, "tokens" fills batches up to a budget: less padding, another order. "packed"
            lays rows end to end, without padding, where the task is "causal-lm", "chat" or
            "masked-lm" and the model keeps them apart.
        max_tokens: The budget of a batch for "tokens", padding included, and for "packed"; about
            what a batch of the batch size takes when None.
        fuse_head: "auto" runs the loss without logits where these are large, True insists, False
            does not.
        padding_free: "auto" computes the real tokens of each batch only, on a CPU and where that
            gives the same loss; True insists, False does not.
        sparse_embedding: "auto" lets AdamW step the rows of the vocabulary that it moves, on a CPU;
            True insists, False steps all of them.
        frozen_cache: "auto" runs frozen layers once for every row, without dropout, and keeps what
            they give: in "memory", or on the "disk" where it is large; "off" runs them in every
            step.
        check: "warn" prints doubtful settings, "strict" stops at them, "off" does not look.
        resume: "auto" goes on with an interrupted run in the output folder.
        output_dir: Where the files go; `runs/<model>-<data>-<n>` when not given.
        quiet: Print nothing: no lines and bars of fastft, no log lines of transformers. What
            Python's `warnings` do is left to their own filters.
        **training_arguments: The options of the task (`docs/tasks/` lists them), and any argument
            of `transformers.TrainingArguments`. Defaults here:
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
    check_options(options, quiet)
    request = _request(model, data, options, training_arguments)

    from fastft.job import Job
    from fastft.modeling.quiet import quiet_libraries
    from fastft.run import train as run

    console = Console(quiet=quiet)
    with quiet_libraries(quiet=console.is_quiet):
        job = Job(request, console, timing)
        job.prepare()
        return run(job)


def check(
    model: str | Path | PreTrainedModel, data: Any, task: str = "auto", **arguments: Any
) -> CheckReport:
    """Looks at everything that `finetune` would look at, and trains nothing, writes nothing.

    Args:
        model: As in `finetune`.
        data: As in `finetune`.
        task: As in `finetune`.
        **arguments: Every other argument of `finetune`.

    Returns:
        Warnings, notes and the plan.

    Raises:
        Error: The run could not start.
    """
    arguments["task"] = task
    parameters = inspect.signature(finetune).parameters
    options = {name: arguments.pop(name, parameters[name].default) for name in OPTION_NAMES}
    quiet = arguments.pop("quiet", False)
    check_options(options, quiet)
    request = _request(model, data, options, arguments)

    from fastft.job import Job
    from fastft.modeling.fit import left_as_it_was
    from fastft.modeling.quiet import quiet_libraries

    console = Console(quiet=quiet)
    with quiet_libraries(quiet=console.is_quiet), left_as_it_was(model):
        job = Job(request, console)
        job.prepare()
        return job.report()


def load(folder: str | Path) -> FinetunedModel:
    """Loads what a run left in its folder, or what `result.save` wrote.

    Args:
        folder: The folder.

    Returns:
        A model that predicts and scores: `.predict(rows)`, `.evaluate(data)`.

    Raises:
        ModelNotFoundError: The folder holds no finished run.

    Example:
        >>> fastft.load("runs/bert-data-1").predict(["what a film"])   # doctest: +SKIP
    """
    check_path("folder", folder)
    from fastft.finetuned import FinetunedModel

    return FinetunedModel.load(folder)


def _request(model: Any, data: Any, options: dict[str, Any], training: dict[str, Any]) -> Request:
    """Checks names and choices; loads nothing but the list of argument names."""
    from fastft.modeling.freeze import check_train_mode
    from fastft.modeling.lora import check_lora
    from fastft.tasks.registry import TASK_NAMES, option_names, task_options
    from fastft.training.argument_names import modern_arguments
    from fastft.training.arguments import check_types, known_argument_names

    if isinstance(model, str | Path):
        check_path("model", model)
    check_choice("task", options["task"], ("auto", *TASK_NAMES))
    check_train_mode(options["train"])
    check_lora(options["lora"], options["train"])
    check_choice("check", options["check"], CHECKS)
    if options["resume"] is not False:
        check_choice("resume", options["resume"], ("auto",))
    for_tasks = option_names()
    given = {name: value for name, value in training.items() if name in for_tasks}
    if options["task"] != "auto":
        task_options(options["task"], given)
    rest = {name: value for name, value in training.items() if name not in given}
    known = [*known_argument_names(generates=True), *OPTION_NAMES, *for_tasks]
    arguments, notes = modern_arguments(rest, known)
    check_types(arguments)
    return Request(model, data, options, arguments, given, tuple(notes))
