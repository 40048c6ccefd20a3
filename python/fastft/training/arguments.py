"""`TrainingArguments`: transformers' own class, which also takes the names of yesterday."""

from __future__ import annotations

import dataclasses
import warnings
from typing import TYPE_CHECKING, Any

import transformers

from fastft.errors import ConfigurationError, Error
from fastft.training.argument_names import modern_arguments
from fastft.training.argument_requirements import check_requirements
from fastft.training.argument_values import check_possible_values, check_values

if TYPE_CHECKING:
    from collections.abc import Mapping


class RenamedArgumentWarning(FutureWarning):
    """An argument was given under a name that transformers no longer uses."""


def known_argument_names(*, generates: bool = False) -> list[str]:
    """Lists the arguments of the installed transformers' `TrainingArguments`.

    Args:
        generates: Whether those of `Seq2SeqTrainingArguments` count too.
    """
    stock = transformers.Seq2SeqTrainingArguments if generates else transformers.TrainingArguments
    return [field.name for field in dataclasses.fields(stock) if field.init]


def check_types(arguments: Mapping[str, Any]) -> None:
    """Refuses values that no run of `finetune` can use, and those that this machine lacks.

    Args:
        arguments: Training arguments under today's names; "auto" is left to the plan.

    Raises:
        ConfigurationError: A value is of the wrong kind, out of range, or needs what is not there.
    """
    check_values(arguments)
    check_requirements(arguments)


class TrainingArguments(transformers.TrainingArguments):  # type: ignore[misc]
    """The arguments of `transformers.TrainingArguments`, old names included.

    Every argument of the installed transformers is taken as it is. Names of earlier versions
    (`evaluation_strategy`, `warmup_ratio`, `logging_dir`, ...) are translated with a warning; a
    name that nobody knows is answered with the nearest one. A value with which no run could work (a
    negative batch size, a seed of 2.5) is refused here already.

    Args:
        *args: Positional arguments, as in transformers: `output_dir` first.
        **kwargs: Named arguments.

    Raises:
        ArgumentError: A name is unknown.
        ConfigurationError: A value is out of range.

    Example:
        >>> TrainingArguments(output_dir="runs/a", eval_strategy="epoch").eval_strategy.value
        'epoch'
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **_modern_and_possible(args, kwargs, known_argument_names()))


class Seq2SeqTrainingArguments(transformers.Seq2SeqTrainingArguments):  # type: ignore[misc]
    """The arguments of `transformers.Seq2SeqTrainingArguments`, old names included.

    What holds for `TrainingArguments` holds here.

    Args:
        *args: Positional arguments, as in transformers: `output_dir` first.
        **kwargs: Named arguments.

    Raises:
        ArgumentError: A name is unknown.
        ConfigurationError: A value is out of range.

    Example:
        >>> Seq2SeqTrainingArguments("runs/a", generation_max_length=60).generation_max_length
        60
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        names = known_argument_names(generates=True)
        super().__init__(*args, **_modern_and_possible(args, kwargs, names))


def _modern_and_possible(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], names: list[str]
) -> dict[str, Any]:
    """Gives named arguments under today's names, after a look at all values."""
    arguments, notes = modern_arguments(kwargs, names)
    for note in notes:
        warnings.warn(note, RenamedArgumentWarning, stacklevel=3)
    check_possible_values({**dict(zip(names, args, strict=False)), **arguments})
    return arguments


def build_arguments(
    output_dir: str, arguments: Mapping[str, Any], *, generates: bool = False
) -> TrainingArguments | Seq2SeqTrainingArguments:
    """Lets transformers look at its own arguments.

    Args:
        output_dir: The folder of the run.
        arguments: Training arguments under today's names, no "auto" left.
        generates: Whether an evaluation generates text.

    Raises:
        ConfigurationError: transformers refuses them.
    """
    cls = Seq2SeqTrainingArguments if generates else TrainingArguments
    try:
        return cls(output_dir=output_dir, **arguments)
    except Error:
        raise
    except (ArithmeticError, AttributeError, ImportError, LookupError, OSError, RuntimeError,
            TypeError, ValueError) as error:  # fmt: skip
        text = str(error).strip()
        raise ConfigurationError(
            "transformers refuses the training arguments",
            place="training arguments",
            found=text.splitlines()[0] if text else repr(error),
            expected="values that transformers.TrainingArguments takes",
            fix="correct the argument that the message names",
        ) from error
