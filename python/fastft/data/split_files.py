"""The files of a split, and the ways in which they can be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

Kind = Literal["table", "label-files", "label-folders"]

MEANING: dict[Kind, str] = {
    "table": "a table, one example per row",
    "label-files": "a file per label, one example per line",
    "label-folders": "a folder per label, one example per file",
}


@dataclass(frozen=True)
class DataFile:
    """One file of a split.

    Args:
        path: Where it lies, spelt as the user spelt it.
        label: The label of every example in it; None in a table.
    """

    path: Path
    label: str | None = None


@dataclass(frozen=True)
class SplitFiles:
    """One way to read one split.

    Args:
        kind: The reading.
        files: The files in the order of their rows.
        shown: The name by which messages speak of it, such as `train.csv` or `train/`.
    """

    kind: Kind
    files: tuple[DataFile, ...]
    shown: str


@dataclass(frozen=True)
class Tree:
    """What a folder holds: the files of every split, and the entries that belong to none."""

    splits: dict[str, SplitFiles]
    strays: tuple[Path, ...]
