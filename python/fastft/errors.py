"""The exceptions of fastft: what went wrong, where, what was expected, what to change.

Every exception is a subclass of `Error` and of the nearest built-in class, so `except ValueError`
and `except fastft.Error` both work. The parts of a message are kept as attributes for programs.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Error(Exception):
    """Base class of everything that fastft raises on purpose.

    Args:
        problem: One sentence that says what is wrong.
        place: File and line, row and column, or the argument that holds the fault.
        found: The value or state that was met.
        expected: The values or states that would be right.
        fix: What the user can change.

    Example:
        >>> print(Error("the label is missing", place="train.csv, line 3", fix="fill it in"))
        train.csv, line 3: the label is missing
          fix:      fill it in
    """

    def __init__(
        self,
        problem: str,
        *,
        place: str | None = None,
        found: str | None = None,
        expected: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.problem = problem
        self.place = place
        self.found = found
        self.expected = expected
        self.fix = fix
        super().__init__(self._text())

    def _text(self) -> str:
        head = f"{self.place}: {self.problem}" if self.place else self.problem
        parts = (("found:", self.found), ("expected:", self.expected), ("fix:", self.fix))
        return "\n".join([head, *(f"  {name:<9} {text}" for name, text in parts if text)])


class DataError(Error, ValueError):
    """The data cannot be read as asked, or holds a row that cannot be used."""


class DataNotFoundError(Error, FileNotFoundError):
    """A file, folder or split that was asked for is not there."""


class DamagedFileError(DataError):
    """A file of ours does not hold what was written to it."""


class LabelError(DataError):
    """A label is missing, of the wrong type, outside the label set, or the set does not fit."""


class ColumnError(DataError):
    """A column is missing, named twice, or of a type that cannot be used."""


class ArgumentError(Error, TypeError):
    """An argument has a name that nobody knows."""


class ConfigurationError(Error, ValueError):
    """An argument has a value that cannot work with the model, the data or the device."""


class ModelNotFoundError(Error, OSError):
    """The model or its tokenizer is neither in a folder, nor in the cache, nor on the hub."""


class TokenizerError(Error, ValueError):
    """The tokenizer cannot be used, or does not fit the model."""


class OutputError(Error, OSError):
    """The output folder cannot be written, or the disk has too little room."""


class NonFiniteLossError(Error, FloatingPointError):
    """The loss became NaN or infinite; the run stopped at that step."""


class InternalError(Error, RuntimeError):
    """A fault of fastft itself. Please report it with the text of the message."""


def nearest(name: str, known: Iterable[str], *, count: int = 3) -> list[str]:
    """Returns the known names that look most like `name`, the best first.

    Example:
        >>> nearest("lable", ["text", "label"])
        ['label']
    """
    return difflib.get_close_matches(name, list(known), n=count, cutoff=0.6)
