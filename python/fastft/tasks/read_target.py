"""What a text classifier is trained towards, read from the training split and the options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from fastft.errors import ArgumentError, ConfigurationError
from fastft.tasks.columns import find_column
from fastft.tasks.label_names import checked_label_names
from fastft.tasks.labels import read_label_set
from fastft.tasks.multi_label import MultiLabel, listed_names
from fastft.tasks.regression import Regression, looks_like_numbers
from fastft.tasks.single_label import SingleLabel, read_class_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import PreTrainedConfig

    from fastft.data.sources import Source, Split
    from fastft.tasks.target import Target

LABEL_COLUMNS = (
    "label",
    "labels",
    "category",
    "class",
    "intent",
    "sentiment",
    "target",
    "score",
)
TARGETS: dict[str, type[Target]] = {
    target.problem_type: target for target in (SingleLabel, MultiLabel, Regression)
}


def read_target(
    source: Source,
    options: Mapping[str, Any],
    head: PreTrainedConfig | None,
    head_is_fixed: bool,
) -> Target:
    """Decides what is predicted, and reads the classes from the training split.

    Args:
        source: The data.
        options: The options of `finetune`, those of text classification among them.
        head: The configuration of the model.
        head_is_fixed: Whether the head also decides how many labels there are.

    Raises:
        ColumnError: A column is not there.
        LabelError: The labels cannot be used.
        ConfigurationError: An option does not fit the labels.
    """
    train, label = source.splits["train"], options["label"]
    columns = label_columns(train, label)
    kind = _problem_type(train, columns, options)
    if kind != SingleLabel.problem_type and options["class_weights"] is not None:
        raise ConfigurationError(
            "class_weights needs one class a row",
            place="argument class_weights",
            found=kind,
            expected=SingleLabel.problem_type,
            fix="remove class_weights",
        )
    _refuse_unread(kind, columns, options)
    if kind == Regression.problem_type:
        return Regression(columns[0])
    if kind == MultiLabel.problem_type:
        return _multi_label(train, columns, options)
    return _single_label(source, columns[0], options, head, head_is_fixed)


def _refuse_unread(kind: str, columns: tuple[str, ...], options: Mapping[str, Any]) -> None:
    """Refuses options that nothing would look at."""
    has_several = len(columns) > 1
    unread = {
        "label_separator": kind != MultiLabel.problem_type or has_several,
        "label_names": kind == Regression.problem_type or has_several,
    }
    for name, nobody_reads in unread.items():
        if nobody_reads and options[name] is not None:
            raise ConfigurationError(
                f"{name} has no meaning for these labels",
                place=f"argument {name}",
                found=f"{options[name]!r} with "
                + ("a column for each class, which names it" if has_several else kind),
                expected="one column of classes",
                fix=f"remove {name}",
            )


def label_columns(train: Split, label: Any) -> tuple[str, ...]:
    """Finds the label column, or the columns of 0 and 1 that are a class each."""
    if isinstance(label, list | tuple):
        return tuple(find_column(train, name, (), "label") for name in label)
    return (find_column(train, label, LABEL_COLUMNS, "label"),)


def _problem_type(train: Split, columns: tuple[str, ...], options: Mapping[str, Any]) -> str:
    given = options["problem_type"]
    if given != "auto":
        if given not in TARGETS:
            raise ArgumentError(
                "problem_type has no such value",
                place="argument problem_type",
                found=repr(given),
                expected=", ".join(map(repr, ("auto", *TARGETS))),
                fix="leave problem_type out",
            )
        return str(given)
    kind = train.table.column(columns[0]).type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if len(columns) > 1 or lists or options["label_separator"] is not None:
        return MultiLabel.problem_type
    if options["label_names"] is None and looks_like_numbers(train, columns[0]):
        return Regression.problem_type
    return SingleLabel.problem_type


def _multi_label(train: Split, columns: tuple[str, ...], options: Mapping[str, Any]) -> MultiLabel:
    if len(columns) > 1:
        return MultiLabel(columns, columns)
    separator, given = options["label_separator"], options["label_names"]
    if separator is not None and not (isinstance(separator, str) and separator):
        raise ConfigurationError(
            "label_separator separates nothing",
            place="argument label_separator",
            found=repr(separator),
            expected="what stands between two classes in the label column, such as ';', or None",
            fix="pass label_separator=';', or leave it out",
        )
    names = (
        listed_names(train, columns[0], separator) if given is None else checked_label_names(given)
    )
    return MultiLabel(columns, names, separator)


def _single_label(
    source: Source,
    column: str,
    options: Mapping[str, Any],
    head: PreTrainedConfig | None,
    head_is_fixed: bool,
) -> SingleLabel:
    train, given = source.splits["train"], options["label_names"]
    labels = read_label_set(train, column, source.label_names if given is None else given)
    if head is not None and head_is_fixed:
        labels = labels.fit_to_head(train, column, head)
    elif head is not None and given is None:
        labels = labels.in_order_of(head)
    target = SingleLabel(column, labels.names)
    if options["class_weights"] is None:
        return target
    weights = read_class_weights(options["class_weights"], labels.names, target.encode(train))
    return SingleLabel(column, labels.names, weights)
