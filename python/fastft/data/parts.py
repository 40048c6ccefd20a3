"""One split at a time: its files, or the object that holds it, become one table.

Invariant: the rows of a part stand in the order of its files, and each knows its file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from fastft.data.layouts import find_split
from fastft.data.objects import read_object
from fastft.data.origins import Origin
from fastft.data.readers import FileRead, ReadOptions, read_examples, read_lines, read_table
from fastft.data.shards import shard_note
from fastft.errors import ColumnError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from fastft.data.split_files import SplitFiles

_MANY_FILES = 20


@dataclass(frozen=True)
class Part:
    """One split before the checks across splits."""

    table: pa.Table
    origin: Origin
    description: str
    notes: tuple[str, ...]
    files_by_label: dict[str, str] | None
    columns_are_fixed: bool


def open_path(path: Path, options: ReadOptions) -> Part:
    """Reads one split from a table, or from a folder that holds one split.

    Raises:
        DataError: The path cannot be read as one split.
        DataNotFoundError: The path is missing.
    """
    files, strays = find_split(path, options.layout)
    part = read_files(files, options)
    where = f"folder {path}/: " if path.is_dir() else "file "
    shown = part.description if path.is_dir() else str(path)
    notes = part.notes + stray_notes(strays)
    if files.kind == "table" and not path.is_dir() and (note := shard_note(path)):
        notes += (note,)
    return Part(
        part.table, part.origin, where + shown, notes, part.files_by_label, part.columns_are_fixed
    )


def open_object(data: object, argument: str) -> Part:
    """Reads one split from a Python object.

    Args:
        data: A list, a dict of columns, or a table.
        argument: How the user passed it, for messages: `data` or `data['train']`.

    Raises:
        DataError: The object is of no kind that can be read, is empty, or mixes types.
    """
    read = read_object(data, argument)
    description = f"{read.rows.name}, {read.rows.count:,} rows"
    return Part(read.table, Origin((read.rows,)), description, (), None, read.columns_are_fixed)


def read_files(files: SplitFiles, options: ReadOptions) -> Part:
    """Reads the files of one split into one table.

    Raises:
        DataError: A file is empty or broken, or the files can be read in two ways.
        ColumnError: The columns of the files differ.
    """
    _refuse_unusable_labels(files)
    if files.kind == "table":
        reads = [read_table(file.path, options) for file in files.files]
    elif files.kind == "label-files":
        reads = [read_lines(file, options) for file in files.files]
        _refuse_line_per_file(files, reads, options)
        _refuse_blank(files, reads)
    else:
        reads = [read_examples(files.files, options)]
    table = reads[0].table if len(reads) == 1 else _concatenate(files, reads)
    origin = Origin(tuple(read.rows for read in reads))
    notes = _reading_notes(files, reads)
    if files.kind == "table":
        return Part(table, origin, files.shown, notes, None, False)
    by_label = {
        str(file.label): str(file.path if files.kind == "label-files" else file.path.parent)
        for file in files.files
    }
    how, unit = ("file", "line") if files.kind == "label-files" else ("folder", "file")
    description = f"a {how} per label ({listed(by_label)}), one example per {unit}"
    return Part(table, origin, description, notes, by_label, True)


def _concatenate(files: SplitFiles, reads: Sequence[FileRead]) -> pa.Table:
    """Returns the rows of several files as one table; their columns have to agree."""
    first = reads[0].table
    for file, read in zip(files.files, reads, strict=True):
        if read.table.column_names != first.column_names:
            raise ColumnError(
                "the columns differ from those of the file before",
                place=str(file.path),
                found=", ".join(read.table.column_names),
                expected=f"{', '.join(first.column_names)}, as in {files.files[0].path}",
                fix="give all files of a split the same columns in the same order",
            )
    try:
        return pa.concat_tables([read.table for read in reads], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ColumnError(
            "a column has different types in the files of a split",
            place=files.shown,
            found=str(error),
            fix="write the column with the same type in all files",
        ) from error


def _refuse_line_per_file(
    files: SplitFiles, reads: Sequence[FileRead], options: ReadOptions
) -> None:
    """Raises when many files of a line each look like examples rather than like labels."""
    is_sure = options.layout == "label-files" or len(reads) <= _MANY_FILES
    if is_sure or any(read.table.num_rows > 1 for read in reads):
        return
    raise DataError(
        f"{len(reads)} files of one line each can be read in two ways",
        place=str(files.files[0].path.parent) + "/",
        found=f"{listed([file.path.name for file in files.files])}: a file per label (the name "
        "is the label), or a file per example (the names say nothing, the labels are missing)",
        expected="a file per label with many lines, or a folder per label with many files",
        fix='pass layout="label-files" if the names are labels; else move the files into a '
        'folder per label (pos/12.txt) and pass layout="label-folders"',
    )


def _refuse_unusable_labels(files: SplitFiles) -> None:
    """Raises when the name of a file or folder cannot be the name of a label."""
    for file in files.files:
        label = "a table" if file.label is None else file.label
        is_utf8 = not any("\ud800" <= character <= "\udfff" for character in label)
        if not is_utf8 or not label.strip():
            raise DataError(
                "the name of a label is blank" if is_utf8 else "the name of a label is not UTF-8",
                place=ascii(str(file.path)),
                found=ascii(label),
                expected="a file or folder that bears the name of its label",
                fix="rename it",
            )


def _refuse_blank(files: SplitFiles, reads: Sequence[FileRead]) -> None:
    for file, read in zip(files.files, reads, strict=True):
        if not read.table.num_rows:
            raise DataError(
                "the file holds only blank lines" if read.blank_lines else "the file is empty",
                place=str(file.path),
                expected=f"at least one example with the label {file.label!r}",
                fix="fill the file or remove it",
            )


def _reading_notes(files: SplitFiles, reads: Sequence[FileRead]) -> tuple[str, ...]:
    """Returns notes on blank lines and byte order marks."""
    notes = []
    total = sum(read.blank_lines for read in reads)
    if total:
        pairs = zip(files.files, reads, strict=True)
        where = listed(f"{f.path}: {read.blank_lines}" for f, read in pairs if read.blank_lines)
        notes.append(f"{_count(total, 'blank line')} skipped ({where})")
    marked = [str(path) for read in reads for path in read.marked]
    if marked:
        notes.append(f"BOM dropped from {listed(marked)}")
    return tuple(notes)


def stray_notes(strays: Sequence[Path]) -> tuple[str, ...]:
    """Returns a note that counts and names the entries that were left out, if any."""
    if not strays:
        return ()
    return (f"skipped {_count(len(strays), 'stray file')}: {listed(map(str, strays))}",)


def listed(names: Iterable[str], most: int = 8) -> str:
    """Returns names joined by commas, with a count in the place of those beyond `most`."""
    all_names = list(names)
    rest = len(all_names) - most
    return ", ".join(all_names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
