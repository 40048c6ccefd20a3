"""What a user asks for: the arguments of `finetune`, checked by name before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastft.errors import ConfigurationError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The arguments of `finetune` that are neither model, data, nor transformers' own.
OPTION_NAMES = (
    "task",
    "tokenizer",
    "text",
    "pair",
    "label",
    "label_names",
    "layout",
    "quoting",
    "encoding",
    "validation",
    "max_length",
    "train",
    "early_stopping",
    "check",
    "resume",
    "output_dir",
)
TASKS = ("auto", "text-classification")
CHECKS = ("warn", "strict", "off")


@dataclass(frozen=True)
class Request:
    """One job, as it was asked for.

    Attributes:
        model: A hub name, a folder, or a `PreTrainedModel`.
        data: Anything that `fastft.data.sources.open_source` reads.
        options: The other arguments of `finetune`, by name.
        training: Training arguments under today's names.
        notes: What was translated from old names.
    """

    model: Any
    data: Any
    options: Mapping[str, Any]
    training: Mapping[str, Any]
    notes: Sequence[str] = field(default=())

    @property
    def model_name(self) -> str | None:
        """The name or folder of the model; None when an object was given."""
        return str(self.model) if isinstance(self.model, str | Path) else None

    @property
    def short_model(self) -> str:
        """A name of the model for a folder."""
        name = self.model_name
        if name is None:
            return type(self.model).__name__
        path = Path(name)
        # A folder called just "model" says nothing; the one above it does.
        return path.name if path.name != "model" or not path.parent.name else path.parent.name

    @property
    def short_data(self) -> str:
        """A name of the data for a folder."""
        if isinstance(self.data, str | Path):
            return Path(self.data).resolve().stem or "data"
        return type(self.data).__name__.lower()

    def call(self) -> dict[str, Any]:
        """Gives the whole call back, for `run.yaml`; the folder of the run is not part of it."""
        options = {
            name: value
            for name, value in self.options.items()
            # None says something for validation alone; elsewhere it is what is not given.
            if name not in ("output_dir", "resume") and (value is not None or name == "validation")
        }
        return {"model": self.model, "data": self.data, **options, **self.training}


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Refuses a value that is not one of a few.

    Raises:
        ConfigurationError: `value` is none of `choices`.
    """
    if value in choices:
        return
    close = nearest(str(value), choices)
    raise ConfigurationError(
        f"{name} has no such value",
        place=f"argument {name}",
        found=repr(value),
        expected=" or ".join(map(repr, choices)),
        fix=f"did you mean {close[0]!r}?" if close else f"pass one of them as {name}=",
    )
