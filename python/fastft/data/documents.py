"""Plain text for language models: files, folders and lists of texts become documents.

A document is a whole file, a line, or a paragraph; none has a label. `data/train.txt`,
`data/train/*.txt`, one file, and `["a text", "another"]` are read this way, and only where the task
asks for documents (`ReadOptions.documents`); tables take the path of every other task.

Invariant: a document holds the very characters of its file. Only a byte order mark goes, and the
line ends or blank lines that part one document from the next.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fastft.data.contents import load_text, one_text, require_content
from fastft.data.object_columns import column_of
from fastft.data.origins import ExampleFiles, LineRows, ObjectRows, Origin, Rows
from fastft.data.parts import Part, listed, stray_notes
from fastft.data.path_names import (
    COMPRESSED,
    SPLIT_NAMES,
    TABLE_FORMATS,
    canonical_split,
    checked_path,
    is_text,
    list_entries,
    refuse_compressed,
    require_existing,
    split_stem,
)
from fastft.data.readers import ReadOptions, read_lines
from fastft.data.split_files import DataFile
from fastft.errors import ConfigurationError, DataError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DOCUMENTS = ("auto", "file", "line", "paragraph")

Opened = tuple[dict[str, Part], str, tuple[str, ...]]
"""The splits, a description, and notes, as `open_source` joins them."""


@dataclass(frozen=True)
class _Read:
    """The documents of one file."""

    texts: pa.Array
    rows: Rows
    has_bom: bool
    blank_lines: int = 0
    has_carriage_returns: bool = False


def open_documents(data: object, options: ReadOptions, argument: str) -> Opened | None:
    """Reads plain text; None where the data is none, or documents are not asked for.

    Args:
        data: What the user passed.
        options: What a document is, and the encoding.
        argument: The argument that the data was passed as, for messages.

    Raises:
        DataError: A file is empty or not UTF-8, or a folder can be read in two ways.
        ConfigurationError: `documents` has an unknown value.
    """
    if options.documents is None:
        return None
    check_documents(options.documents)
    if isinstance(data, str | os.PathLike):
        path = checked_path(data, argument)
        require_existing(path)
        if path.is_dir():
            return _open_folder(path, options)
    part = open_texts(data, options, argument)
    return None if part is None else ({"train": part}, part.description, ())


def open_texts(data: object, options: ReadOptions, argument: str) -> Part | None:
    """Reads the plain text of one split: a file, a folder, or a list of strings.

    Args:
        data: What the user passed.
        options: What a document is, and the encoding.
        argument: How the user passed it, for messages: `data['train']`.

    Raises:
        DataError: A file is empty or not UTF-8, or a folder can be read in two ways.
    """
    if options.documents is None:
        return None
    if isinstance(data, list | tuple) and data and isinstance(data[0], str):
        return _list_part(list(data), argument)
    if not isinstance(data, str | os.PathLike):
        return None
    path = checked_path(data, argument)
    require_existing(path)
    if not path.is_dir():
        is_table = path.suffix.lower() in TABLE_FORMATS
        return None if is_table else _part([path], options, f"file {path}")
    if options.layout != "auto":
        return None
    files, tables, strays = _collect([path])
    _refuse_two_readings(path, files, tables)
    return _part(files, options, f"folder {path}/", stray_notes(strays)) if files else None


def check_documents(documents: object) -> None:
    """Refuses a name that says nothing about documents.

    Raises:
        ConfigurationError: It is none of `DOCUMENTS`.
    """
    if documents in DOCUMENTS:
        return
    close = nearest(str(documents), DOCUMENTS, count=1)
    raise ConfigurationError(
        "documents does not say what a document is",
        place="argument documents",
        found=repr(documents),
        expected=" or ".join(map(repr, DOCUMENTS)),
        fix=f"did you mean documents={close[0]!r}?" if close else "leave documents out",
    )


def _open_folder(folder: Path, options: ReadOptions) -> Opened | None:
    """Reads the text files of a folder by split; files without the name of one are all train."""
    if options.layout != "auto":
        return None
    entries, strays = list_entries(folder)
    named: dict[str, list[Path]] = {}
    for path in entries:
        named.setdefault(canonical_split(split_stem(path)) or "", []).append(path)
    others = named.pop("", [])
    if named:
        strays += others
    groups = named or {"train": others}
    texts, tables, inner = _collect([path for paths in groups.values() for path in paths])
    if not texts:
        return None
    _refuse_two_readings(folder, texts, tables)
    files = {split: _collect(groups[split])[0] for split in SPLIT_NAMES if split in groups}
    parts = {
        split: _part(paths, options, f"folder {folder}/") for split, paths in files.items() if paths
    }
    shown = "; ".join(f"{name}: {part.table.num_rows:,} documents" for name, part in parts.items())
    return parts, f"folder {folder}/: {shown}", stray_notes(sorted(strays + inner))


def _refuse_two_readings(folder: Path, texts: Sequence[Path], tables: Sequence[Path]) -> None:
    """Raises when text files and tables lie side by side."""
    if texts and tables:
        raise DataError(
            "the data can be read in 2 ways",
            place=f"{folder}/",
            found=f"{listed(p.name for p in texts)}: plain text; "
            f"{listed(p.name for p in tables)}: tables",
            expected="one way to read it",
            fix='pass layout="table" for the tables, or move them away for the text files',
        )


def _collect(paths: Sequence[Path]) -> tuple[list[Path], list[Path], list[Path]]:
    """Returns text files, tables and strays, folders inside included."""
    texts: list[Path] = []
    tables: list[Path] = []
    strays: list[Path] = []
    for path in paths:
        if path.is_dir():
            entries, stray = list_entries(path)
            _refuse_splits_inside(path, entries)
            inner = _collect(entries)
            texts, tables, strays = texts + inner[0], tables + inner[1], strays + inner[2] + stray
        elif path.suffix.lower() in COMPRESSED:
            refuse_compressed(path)
        else:
            (texts if is_text(path) else tables).append(path)
    return texts, tables, strays


def _refuse_splits_inside(folder: Path, entries: Sequence[Path]) -> None:
    """Raises when a folder given as one split holds several, of which one must not be trained."""
    splits = {canonical_split(split_stem(path)) for path in entries} - {None}
    if len(splits) > 1:
        raise DataError(
            "the folder is taken as one split, but holds several",
            place=f"{folder}/",
            found=", ".join(path.name for path in entries if canonical_split(split_stem(path))),
            fix=f"pass data={str(folder)!r} for all of them, or the path of one",
        )


def _list_part(texts: list[Any], argument: str) -> Part:
    name = f"the list given as {argument}"
    table = pa.table({"text": column_of(texts, "text", name)})
    rows = ObjectRows(name, len(texts))
    return Part(table, Origin((rows,)), f"{name}, {len(texts):,} texts", (), None, False)


def _part(
    files: Sequence[Path], options: ReadOptions, place: str, notes: tuple[str, ...] = ()
) -> Part:
    """Reads text files into one table with the column `text`."""
    unit = "file" if options.documents == "auto" else str(options.documents)
    read = {"file": _whole, "line": _lines, "paragraph": _paragraphs}[unit]
    reads = [read(path, options.encoding) for path in files]
    texts = pa.chunked_array([one.texts for one in reads], pa.large_string())
    shown = f"{len(texts):,} document{'' if len(texts) == 1 else 's'}, a {unit} each"
    runs: tuple[Rows, ...] = tuple(one.rows for one in reads)
    if unit == "file":
        runs = (ExampleFiles(tuple(files)),)
    return Part(
        pa.table({"text": texts}),
        Origin(runs),
        f"{place}: {shown}",
        notes + _notes(files, reads),
        None,
        True,
    )


def _whole(path: Path, encoding: str | None) -> _Read:
    content, has_bom = load_text(path, encoding)
    require_content(path, content)
    return _Read(
        one_text(content),
        ExampleFiles((path,)),
        has_bom,
        has_carriage_returns=b"\r\n" in content,
    )


def _lines(path: Path, encoding: str | None) -> _Read:
    read = read_lines(DataFile(path), ReadOptions(encoding=encoding))
    _require_rows(path, read.table.num_rows)
    texts = read.table.column("text").combine_chunks().cast(pa.large_string())
    return _Read(texts, read.rows, bool(read.marked), read.blank_lines)


def _paragraphs(path: Path, encoding: str | None) -> _Read:
    """Cuts a file where a line is blank; the lines of a paragraph stay as they are."""
    content, has_bom = load_text(path, encoding)
    require_content(path, content)
    ends = np.append(np.flatnonzero(np.frombuffer(content, np.uint8) == ord("\n")), len(content))
    starts = np.concatenate([[0], ends[:-1] + 1])
    is_blank = np.array(
        [not content[start:end].decode().strip() for start, end in zip(starts, ends, strict=True)]
    )
    first = np.flatnonzero(~is_blank & np.concatenate([[True], is_blank[:-1]]))
    last = np.flatnonzero(~is_blank & np.concatenate([is_blank[1:], [True]]))
    texts = [
        content[starts[one] : ends[other]].removesuffix(b"\r").decode()
        for one, other in zip(first, last, strict=True)
    ]
    rows = LineRows(path, len(texts), lambda: first + 1)
    return _Read(
        pa.array(texts, pa.large_string()), rows, has_bom, has_carriage_returns=b"\r\n" in content
    )


def _require_rows(path: Path, count: int) -> None:
    if not count:
        raise DataError(
            "the file holds only blank lines",
            place=str(path),
            expected="at least one line of text",
            fix="fill the file or remove it",
        )


def _notes(files: Sequence[Path], reads: Sequence[_Read]) -> tuple[str, ...]:
    """Returns notes on byte order marks, blank lines and line ends."""
    notes = []
    pairs = list(zip(files, reads, strict=True))
    if marked := [str(path) for path, read in pairs if read.has_bom]:
        notes.append(f"BOM dropped from {listed(marked)}")
    if blank := sum(read.blank_lines for read in reads):
        where = listed(f"{path}: {read.blank_lines:,}" for path, read in pairs if read.blank_lines)
        notes.append(f"{blank:,} blank line{'' if blank == 1 else 's'} skipped ({where})")
    if returns := [str(path) for path, read in pairs if read.has_carriage_returns]:
        notes.append(f"line ends of Windows (\\r\\n) are kept in {listed(returns)}")
    return tuple(notes)
