"""The source: whatever the user passed as `data` becomes Arrow tables, one per split.

    data ─► layout (which files) ─► readers / objects (tables) ─► checks across splits ─► Source

A source knows no task: only the layouts that carry labels in their names fix the columns `text` and
`label`; all other columns keep their names and wait for a task to interpret them.

Invariant: every split has at least one row, and every row can be traced to where it came from.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastft.data.contents import check_encoding
from fastft.data.documents import open_documents, open_texts
from fastft.data.layouts import check_layout, find_splits
from fastft.data.origins import Origin
from fastft.data.parallel_files import open_pair, open_parallel
from fastft.data.parts import Part, listed, open_object, open_path, read_files, stray_notes
from fastft.data.path_names import (
    SPLIT_NAMES,
    canonical_split,
    checked_path,
    label_order,
    require_existing,
)
from fastft.data.readers import DEFAULT_OPTIONS, ReadOptions
from fastft.errors import DataError, DataNotFoundError, LabelError, nearest

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

__all__ = ["Origin", "ReadOptions", "Source", "Split", "open_source"]


@dataclass(frozen=True)
class Split:
    """One split: a table, and where its rows come from.

    Args:
        name: `train`, `validation` or `test`.
        table: A row per example; text columns are string or large_string.
        origin: The places of the rows.
    """

    name: str
    table: pa.Table
    origin: Origin

    def place(self, row: int, column: str | None = None) -> str:
        """Returns where a row stands, in words.

        Args:
            row: The row of the table, counted from 0.
            column: A column to name as well.

        Example:
            >>> open_source([("good", 1)]).splits["train"].place(0, "label")
            "row 0 of the list given as data, column 'label'"
        """
        place = self.origin.place(row)
        return place if column is None else f"{place}, column {column!r}"


@dataclass(frozen=True)
class Source:
    """All splits of the user's data.

    Args:
        splits: The splits by name, in the order train, validation, test.
        description: One line on what was read and how.
        notes: What the user should know: lines skipped, files left out.
        label_names: The labels in order, where names of files or folders give them.
        columns_are_fixed: Whether the columns are `text` and `label` by the way the data was given.
    """

    splits: dict[str, Split]
    description: str
    notes: tuple[str, ...] = ()
    label_names: tuple[str, ...] | None = None
    columns_are_fixed: bool = False


def open_source(
    data: object,
    options: ReadOptions = DEFAULT_OPTIONS,
    *,
    require_train: bool = True,
    argument: str = "data",
) -> Source:
    """Reads what the user passed as data.

    Args:
        data: A path to a folder or file; a dict of splits or of columns; a list of (text, label)
            pairs or of dicts; a table of pandas, polars, pyarrow or datasets.
        options: How files are read.
        require_train: Whether a train split has to be there.
        argument: The argument that the data was passed as, for messages.

    Returns:
        The splits, with notes on what was left out.

    Raises:
        DataError: The data cannot be read, or can be read in several ways.
        DataNotFoundError: A path or the train split is missing.
        LabelError: A split has labels that train lacks.
        ColumnError: A column stands twice, mixes types, or differs between files.

    Example:
        >>> open_source([("good", 1), ("bad", 0)]).splits["train"].table.num_rows
        2
    """
    check_layout(options.layout)
    check_encoding(options.encoding)
    plain = open_parallel(data, options, argument) or open_documents(data, options, argument)
    if plain is not None:
        parts, description, notes = plain
    elif isinstance(data, str | os.PathLike):
        path = checked_path(data, argument)
        require_existing(path)
        if path.is_dir():
            parts, description, notes = _open_folder(path, options)
        else:
            parts, description, notes = {"train": open_path(path, options)}, f"file {path}", ()
    elif isinstance(data, Mapping) and any(canonical_split(str(key)) for key in data):
        parts, notes = _open_mapping(data, options, argument)
        description = "; ".join(f"{name}: {part.description}" for name, part in parts.items())
    else:
        parts, notes = {"train": open_object(data, argument)}, ()
        description = parts["train"].description
    if require_train and "train" not in parts:
        raise _no_train(data, parts, argument)
    return _join(parts, description, notes)


def _open_folder(
    folder: Path, options: ReadOptions
) -> tuple[dict[str, Part], str, tuple[str, ...]]:
    tree = find_splits(folder, options.layout)
    shown = {name: files.shown for name, files in tree.splits.items()}
    kinds = {files.kind for files in tree.splits.values()}
    if len(kinds) > 1:
        raise DataError(
            "the splits are laid out in different ways",
            place=f"{folder}/",
            found="; ".join(f"{name}: {what}" for name, what in shown.items()),
            expected="the same layout in every split",
            fix=f'name what to use: data={{"train": {str(folder / "train")!r}, ...}}',
        )
    parts = {name: read_files(files, options) for name, files in tree.splits.items()}
    if kinds == {"table"}:
        what = ", ".join(shown.values())
    else:
        what = f"{', '.join(parts)}; {next(iter(parts.values())).description}"
    return parts, f"folder {folder}/: {what}", stray_notes(tree.strays)


def _open_mapping(
    data: Mapping[object, object], options: ReadOptions, argument: str
) -> tuple[dict[str, Part], tuple[str, ...]]:
    """Opens a dict whose keys are names of splits."""
    parts: dict[str, Part] = {}
    notes = []
    for key, value in data.items():
        name = canonical_split(str(key))
        if name is None:
            _refuse_unknown_key(str(key), value, data, argument)
            notes.append(f"split {str(key)!r} is not used")
        elif name in parts:
            raise DataError(
                f"two keys name the {name} split",
                place=f"argument {argument}",
                found=", ".join(repr(other) for other in data),
                fix="leave one of them out",
            )
        elif value is None:
            raise _split_is_none(name, f"{argument}[{key!r}]")
        elif (pair := open_pair(value, options, f"{argument}[{key!r}]")) is not None:
            parts[name] = pair
        elif (texts := open_texts(value, options, f"{argument}[{key!r}]")) is not None:
            parts[name] = texts
        elif isinstance(value, str | os.PathLike):
            path = checked_path(value, f"{argument}[{key!r}]")
            parts[name] = open_path(path, options)
        else:
            parts[name] = open_object(value, f"{argument}[{key!r}]")
    return {name: parts[name] for name in SPLIT_NAMES if name in parts}, tuple(notes)


def _split_is_none(name: str, argument: str) -> DataError:
    fix = {
        "train": "pass the rows to train on, or the path of their file",
        "validation": "leave the key out; validation=None trains without a validation split",
        "test": "leave the key out",
    }
    return DataError(
        f"the {name} split is None",
        place=f"argument {argument}",
        found="None",
        expected="rows, or the path of a file or folder",
        fix=fix[name],
    )


def _refuse_unknown_key(
    key: str, value: object, data: Mapping[object, object], argument: str
) -> None:
    """Raises unless the value is a table under a name of its own, as in imdb's `unsupervised`."""
    names = [name for aliases in SPLIT_NAMES.values() for name in aliases]
    close = [name for name in nearest(key.lower(), names) if name not in data]
    is_table = hasattr(value, "__arrow_c_stream__") or hasattr(value, "with_format")
    if is_table and not close:
        return
    raise DataNotFoundError(
        f"{key!r} is not the name of a split",
        place=f"argument {argument}",
        found=f"a dict with the keys {', '.join(repr(other) for other in data)}",
        expected=f"{', '.join(names)}; or a dict of columns with none of these names",
        fix=f"did you mean {close[0]!r}?" if close else f"leave {key!r} out",
    )


def _join(parts: dict[str, Part], description: str, notes: tuple[str, ...]) -> Source:
    """Returns the source, after the checks across splits."""
    splits = {name: Split(name, part.table, part.origin) for name, part in parts.items()}
    all_notes = notes + tuple(note for part in parts.values() for note in part.notes)
    label_names, label_notes = _label_names(parts)
    is_fixed = all(part.columns_are_fixed for part in parts.values())
    return Source(splits, description, all_notes + label_notes, label_names, is_fixed)


def _label_names(parts: dict[str, Part]) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Returns the labels of train in order, and notes on labels that a split lacks."""
    known = next((part.files_by_label for part in parts.values()), None)
    if known is None:
        return None, ()
    notes = []
    for name, part in parts.items():
        found = part.files_by_label
        if found is None:
            continue
        extra = [label for label in found if label not in known]
        if extra and "train" in parts:
            raise LabelError(
                f"{name} has labels that train lacks",
                place=", ".join(found[label] for label in extra[:5]),
                found=listed(extra),
                expected=f"the labels of train: {listed(known)}",
                fix="rename the files, or add examples of these labels to train",
            )
        lacking = [label for label in known if label not in found]
        if lacking:
            notes.append(f"{name} has no examples of the labels {listed(lacking)}")
    return tuple(sorted(known, key=label_order)), tuple(notes)


def _no_train(data: object, parts: dict[str, Part], argument: str) -> DataNotFoundError:
    place = f"argument {argument}" if isinstance(data, Mapping) else f"{data}/"
    return DataNotFoundError(
        "there is no train split",
        place=place,
        found=f"the splits {', '.join(parts)}" if parts else "no splits",
        expected="train, and optionally validation (valid, val, dev) and test (eval)",
        fix="add train, or pass the path of the file to train on",
    )
