"""The tasks by name, and which one is meant when the user names none."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fastft.errors import ArgumentError
from fastft.tasks.read_target import LABEL_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from fastft.tasks.base import Task

# Loaded when used: a classifier needs no sacrebleu.
_CLASSES = {
    "text-classification": "text_classification.TextClassification",
    "question-answering": "question_answering.QuestionAnswering",
    "seq2seq": "seq2seq.Seq2Seq",
    "translation": "seq2seq.Translation",
    "summarization": "seq2seq.Summarization",
    "causal-lm": "causal_lm.CausalLM",
    "chat": "chat.Chat",
    "masked-lm": "masked_lm.MaskedLM",
}
TASK_NAMES = tuple(_CLASSES)

# Sets of columns that say what the rows are for.
_CONVERSATIONS = (
    {"messages"},
    {"conversations"},
    {"prompt", "completion"},
    {"instruction", "output"},
    {"instruction", "response"},
)


def task_class(name: str) -> type[Task]:
    """Gives the class of a task."""
    module, _, cls = _CLASSES[name].partition(".")
    found: type[Task] = getattr(importlib.import_module(f"fastft.tasks.{module}"), cls)
    return found


def choose_task(
    columns: Collection[str],
    options: Mapping[str, Any],
    architecture: str,
    *,
    encoder_decoder: bool,
) -> tuple[str, str]:
    """Decides what a job is, from its columns and from the architecture of the model.

    Args:
        columns: The columns of the training split.
        options: The options of `finetune`; a column that is named there says what it is for.
        architecture: The class of the model, as its configuration names it.
        encoder_decoder: Whether the model has an encoder and a decoder.

    Returns:
        The name of the task, and the reason.

    Example:
        >>> choose_task({"question", "context"}, {}, "BertModel", encoder_decoder=False)
        ('question-answering', "the columns 'question' and 'context'")
    """
    names = set(columns)
    for conversation in _CONVERSATIONS:
        if conversation <= names and not encoder_decoder:
            return "chat", _listed(conversation)
    if {"question", "context"} <= names and not encoder_decoder:
        return "question-answering", _listed({"question", "context"})
    if encoder_decoder:
        return "seq2seq", f"{architecture or 'the model'} has an encoder and a decoder"
    label = options.get("label") or next((name for name in LABEL_COLUMNS if name in names), None)
    if label is not None:
        return "text-classification", f"the label column {label!r}"
    if architecture.endswith("ForQuestionAnswering"):
        return "question-answering", architecture
    if architecture.endswith(("ForCausalLM", "LMHeadModel")):
        return "causal-lm", f"{architecture}, and no label column"
    if architecture.endswith("ForMaskedLM"):
        return "masked-lm", f"{architecture}, and no label column"
    return "text-classification", architecture or "an encoder"


def _listed(columns: set[str]) -> str:
    names = sorted(columns, key=lambda name: name in ("output", "response", "context"))
    word = "column" if len(names) == 1 else "columns"
    return f"the {word} {' and '.join(map(repr, names))}"


def task_options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Fills in the options of a task.

    Args:
        name: The name of the task.
        given: The options of tasks that the user gave.

    Raises:
        ArgumentError: One of them belongs to another task.
    """
    known = task_class(name).options
    for option in given:
        if option not in known:
            owners = [other for other in TASK_NAMES if option in task_class(other).options]
            reason = task_class(name).why_not_options.get(option)
            raise ArgumentError(
                f"{option} is no option of the task {name}",
                place=f"argument {option}",
                found=f"task {name!r}" + (f": {reason}" if reason else ""),
                expected=f"task {' or '.join(map(repr, owners))}",
                fix=f"remove {option}, or pass task={owners[0]!r}",
            )
    return {**known, **given}


def option_names() -> set[str]:
    """Lists the options that only some tasks take."""
    return {option for name in TASK_NAMES for option in task_class(name).options}
