"""`TrainingArguments`: transformers' own class, which also takes the names of yesterday."""

from __future__ import annotations

import dataclasses
import warnings
from typing import TYPE_CHECKING, Any

import transformers

from fastft.errors import ConfigurationError
from fastft.training.argument_names import modern_arguments
from fastft.training.plan import DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Mapping


class RenamedArgumentWarning(FutureWarning):
    """An argument was given under a name that transformers no longer uses."""


def known_argument_names() -> list[str]:
    """Lists the arguments of the installed transformers' `TrainingArguments`."""
    fields = dataclasses.fields(transformers.TrainingArguments)
    return [field.name for field in fields if field.init]


def check_types(arguments: Mapping[str, Any]) -> None:
    """Refuses words where transformers expects numbers, and numbers where it expects yes or no.

    transformers checks nothing here; a learning rate of "fast" fails in the middle of the run.

    Args:
        arguments: Training arguments under today's names; "auto" is left to the plan.

    Raises:
        ConfigurationError: A value has the wrong type.
    """
    defaults = {
        field.name: field.default for field in dataclasses.fields(transformers.TrainingArguments)
    }
    for name, value in arguments.items():
        default = defaults.get(name)
        if value == "auto" and name in DEFAULTS and DEFAULTS[name] == "auto":
            continue
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(default, bool):
            if not isinstance(value, bool):
                _refuse(name, value, "True or False", default)
        elif isinstance(default, int | float) and not is_number:
            _refuse(name, value, "a number", default)


def _refuse(name: str, value: Any, expected: str, default: Any) -> None:
    raise ConfigurationError(
        f"{name} has a value of the wrong kind",
        place=f"argument {name}",
        found=repr(value),
        expected=expected,
        fix=f"pass {name}={DEFAULTS.get(name, default)!r}, or leave it out",
    )


class TrainingArguments(transformers.TrainingArguments):  # type: ignore[misc]
    """The arguments of `transformers.TrainingArguments`, old names included.

    Every argument of the installed transformers is taken as it is. Names of earlier versions
    (`evaluation_strategy`, `warmup_ratio`, `logging_dir`, ...) are translated with a warning; a
    name that nobody knows is answered with the nearest one.

    Args:
        *args: Positional arguments, as in transformers: `output_dir` first.
        **kwargs: Named arguments.

    Raises:
        ArgumentError: A name is unknown.

    Example:
        >>> TrainingArguments(output_dir="runs/a", eval_strategy="epoch").eval_strategy.value
        'epoch'
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        arguments, notes = modern_arguments(kwargs, known_argument_names())
        for note in notes:
            warnings.warn(note, RenamedArgumentWarning, stacklevel=2)
        super().__init__(*args, **arguments)
