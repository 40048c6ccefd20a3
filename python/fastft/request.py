"""What a user asks for: the arguments of `finetune`, checked by name before anything is loaded."""

from __future__ import annotations

import os
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
    "lora",
    "dropout",
    "early_stopping",
    "batching",
    "max_tokens",
    "fuse_head",
    "padding_free",
    "sparse_embedding",
    "frozen_cache",
    "check",
    "resume",
    "output_dir",
)
CHECKS = ("warn", "strict", "off")

# Arguments that take a name on the hub in place of a folder.
ON_THE_HUB = ("model", "tokenizer")

# A part of a path may have so many bytes on every file system in use.
MAX_NAME_BYTES = 255
# What a name may take of the folder of a run, which is made of two of them.
MAX_SHORT_NAME = 80


@dataclass(frozen=True)
class Request:
    """One job, as it was asked for.

    Attributes:
        model: A hub name, a folder, or a `PreTrainedModel`.
        data: Anything that `fastft.data.sources.open_source` reads.
        options: The other arguments of `finetune`, by name.
        training: Training arguments under today's names.
        task_options: What was given of the options that only some tasks take.
        notes: What was translated from old names.
    """

    model: Any
    data: Any
    options: Mapping[str, Any]
    training: Mapping[str, Any]
    task_options: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = field(default=())

    @property
    def all_options(self) -> dict[str, Any]:
        """The options of every task and those of some, as far as they were given."""
        return {**self.options, **self.task_options}

    @property
    def model_name(self) -> str | None:
        """The name or folder of the model, `~` expanded; None when an object was given."""
        if not isinstance(self.model, str | Path):
            return None
        name = str(self.model)
        return str(Path(name).expanduser()) if name.startswith("~") else name

    @property
    def short_model(self) -> str:
        """A name of the model for a folder."""
        name = self.model_name
        if name is None:
            return type(self.model).__name__
        path = Path(name)
        # A folder called just "model" says nothing; the one above it does.
        chosen = path.name if path.name != "model" or not path.parent.name else path.parent.name
        return chosen[:MAX_SHORT_NAME]

    @property
    def short_data(self) -> str:
        """A name of the data for a folder."""
        if isinstance(self.data, str | Path):
            try:
                name = Path(self.data).resolve().stem
            except (OSError, ValueError, RuntimeError):
                name = ""  # no path at all: whoever reads the data says what is wrong with it
            return name[:MAX_SHORT_NAME] or "data"
        return type(self.data).__name__.lower()

    def call(self) -> dict[str, Any]:
        """Gives the whole call back, for `run.yaml`; the folder of the run is not part of it."""
        options = {
            name: value
            for name, value in self.all_options.items()
            # None says something for validation alone; elsewhere it is what is not given.
            if name not in ("output_dir", "resume") and (value is not None or name == "validation")
        }
        return {"model": self.model, "data": self.data, **options, **self.training}


def check_options(options: Mapping[str, Any], quiet: Any) -> None:
    """Refuses options of the wrong type, before anything looks into them.

    Args:
        options: The options of `finetune`, by name.
        quiet: The argument of that name.

    Raises:
        ConfigurationError: One of them cannot be what it should be.
    """
    for name in ("text", "pair"):
        _check_type(name, options[name], str, "the name of a column", f"'my_{name}'", none=True)
    _check_label(options["label"])
    _check_type("layout", options["layout"], str, "the name of a layout", "'auto'")
    _check_type(
        "encoding", options["encoding"], str, "the name of an encoding", "'utf-8'", none=True
    )
    _check_type("quoting", options["quoting"], bool, "True or False", "False")
    _check_type("quiet", quiet, bool, "True or False", "True")
    given = options["output_dir"]
    _check_type("output_dir", given, str | os.PathLike, "a folder", "'runs/mine'", none=True)
    if given is not None:
        check_path("output_dir", given)
    if isinstance(options["tokenizer"], str | Path):
        check_path("tokenizer", options["tokenizer"])


def _check_label(value: Any) -> None:
    """Refuses what is neither the name of a column nor a list of different ones."""
    if not isinstance(value, list | tuple):
        _check_type("label", value, str, "the name of a column", "'my_label'", none=True)
        return
    names = [name for name in value if isinstance(name, str)]
    if value and len(set(names)) == len(value):
        return
    raise ConfigurationError(
        "label is no list of columns",
        place="argument label",
        found=clipped(value),
        expected="the name of a column of 0 and 1 for each class, each of them once",
        fix="correct the list, or pass label='my_label'",
    )


def _check_type(
    name: str, value: Any, kind: Any, expected: str, example: str, *, none: bool = False
) -> None:
    if isinstance(value, kind) or (none and value is None):
        return
    raise ConfigurationError(
        f"{name} is of the wrong type",
        place=f"argument {name}",
        found=f"{clipped(value)} ({type(value).__name__})",
        expected=f"{expected}, or None" if none else expected,
        fix=f"pass {name}={example}" + (f", or leave {name} out" if none else ""),
    )


def check_path(name: str, value: str | os.PathLike[str]) -> None:
    """Refuses a path, or a name on the hub, that no file system could hold.

    Raises:
        ConfigurationError: It is empty, too long, holds a NUL, or names a user nobody knows.
    """
    reason = _path_fault(value)
    if reason is not None:
        raise ConfigurationError(
            "this can be no path",
            place=f"argument {name}",
            found=f"{clipped(value)}: {reason}",
            expected="a folder, or a name on the hub" if name in ON_THE_HUB else "a path",
            fix=f"correct {name}",
        )


def _path_fault(value: Any) -> str | None:
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else value
    if not isinstance(path, str):
        return f"it is of type {type(path).__name__}"
    if not path.strip():
        return "it is empty"
    try:
        if any(len(part) > MAX_NAME_BYTES for part in os.fsencode(path).split(b"/")):
            return f"a part of it is longer than {MAX_NAME_BYTES} bytes"
        Path(path).expanduser().stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None  # said with more words by whoever opens it
    except OSError as error:
        return error.strerror
    except (ValueError, RuntimeError) as error:  # a NUL, a lone surrogate; an unknown ~user
        return str(error)
    return None


def clipped(value: Any, limit: int = 60) -> str:
    """Gives the `repr` of a value, cut where it would fill the screen."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Refuses a value that is not one of a few.

    Raises:
        ConfigurationError: `value` is none of `choices`.
    """
    if isinstance(value, str) and value in choices:
        return
    close = nearest(str(value), choices)
    raise ConfigurationError(
        f"{name} has no such value",
        place=f"argument {name}",
        found=clipped(value),
        expected=" or ".join(map(repr, choices)),
        fix=f"did you mean {close[0]!r}?" if close else f"pass one of them as {name}=",
    )
