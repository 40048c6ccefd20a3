"""Files to Arrow tables: one function per format, pyarrow does the reading.

Column types are ours: csv and tsv give strings only, so "NA" and an empty cell stay text; JSON
strings never turn into dates; dictionaries of parquet become their values.

Invariant: text leaves this file as valid UTF-8 or not at all, and every row can be traced to its
line.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from fastft.data.contents import load_text, one_text, refuse_other_content, require_content
from fastft.data.delimited_files import delimited_records, read_delimited
from fastft.data.diagnose import clip, reader_fault, require_unique
from fastft.data.json_files import json_objects, read_json
from fastft.data.origins import ExampleFiles, FileRows, LineRows, Rows
from fastft.data.squad_files import read_squad
from fastft.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fastft.data.split_files import DataFile

_DELIMITERS = {".csv": b",", ".tsv": b"\t"}
_TEXT_AND_LABEL = pa.schema([("text", pa.large_string()), ("label", pa.large_string())])


@dataclass(frozen=True)
class ReadOptions:
    """How files are read.

    Args:
        layout: `auto`, `table`, `label-files` or `label-folders`.
        quoting: Whether a double quote quotes a field of a tsv file; in csv files it always does.
        encoding: The encoding of text files; UTF-8 when None.
        text_columns: Columns that are read as text even where JSON holds numbers.
        parallel: What source and target are called, where a folder may hold a file for each.
        documents: For language models, what a document of a text file is: `auto` or `file`,
            `line`, `paragraph`. None where text files hold labelled examples.
    """

    layout: str = "auto"
    quoting: bool = False
    encoding: str | None = None
    text_columns: tuple[str, ...] = ()
    parallel: tuple[str, str] | None = None
    documents: str | None = None


DEFAULT_OPTIONS = ReadOptions()


@dataclass(frozen=True)
class FileRead:
    """What was read: a table, the places of its rows, and what was dropped on the way.

    Args:
        table: The rows.
        rows: Their places.
        blank_lines: The number of blank lines that were left out.
        marked: The files whose byte order mark was dropped.
    """

    table: pa.Table
    rows: Rows
    blank_lines: int = 0
    marked: tuple[Path, ...] = ()


def read_table(path: Path, options: ReadOptions = DEFAULT_OPTIONS) -> FileRead:
    """Reads a csv, tsv, json, jsonl or parquet file.

    Args:
        path: The file; its suffix says its format.
        options: Quoting, encoding, and the columns to read as text.

    Raises:
        DataError: The file is empty, broken, compressed, or not text in the encoding given.
        ColumnError: Two columns have the same name.

    Example:
        `read_table(Path("train.csv")).rows.place(0)` gives `train.csv, line 2`.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _read_parquet(path)
    content, has_bom = load_text(path, options.encoding)
    require_content(path, content)
    if (squad := read_squad(path, content)) is not None:
        return FileRead(*squad, 0, (path,) * has_bom)
    if suffix in _DELIMITERS:
        quoting = options.quoting or suffix == ".csv"
        table = read_delimited(path, content, _DELIMITERS[suffix], quoting)
    else:
        quoting = False
        table = read_json(path, content, options.text_columns)

    @cache  # per read, so that a file that changes is looked at again
    def lines() -> Sequence[int] | None:
        return _lines_of_rows(path, options.encoding, quoting)

    return FileRead(table, LineRows(path, table.num_rows, lines), 0, (path,) * has_bom)


def read_lines(file: DataFile, options: ReadOptions = DEFAULT_OPTIONS) -> FileRead:
    """Reads a text file whose lines are examples of one label; blank lines are left out.

    Args:
        file: The file and its label.
        options: The encoding.

    Raises:
        DataError: The file is not text in the encoding given.
    """
    content, has_bom = load_text(file.path, options.encoding)
    lines = split_lines(content)
    kept = np.flatnonzero(pc.not_equal(pc.utf8_trim_whitespace(lines), "").to_numpy(False))
    blank = len(lines) - len(kept)
    texts = lines.take(kept) if blank else lines
    labels = pa.repeat(pa.scalar(file.label, pa.large_string()), len(texts))
    table = pa.table({"text": texts, "label": labels})
    rows = LineRows(file.path, len(texts), lambda: kept + 1)
    return FileRead(table, rows, blank, (file.path,) * has_bom)


def read_examples(files: Sequence[DataFile], options: ReadOptions = DEFAULT_OPTIONS) -> FileRead:
    """Reads text files that are an example each; line ends at the end of a file are left out.

    Args:
        files: The files and their labels.
        options: The encoding.

    Raises:
        DataError: A file is blank, or not text in the encoding given.
    """
    texts: list[str] = []
    marked: list[Path] = []
    for file in files:
        content, has_bom = load_text(file.path, options.encoding)
        marked += [file.path] * has_bom
        require_content(file.path, content)
        texts.append(content.decode().replace("\r\n", "\n").rstrip("\n"))
    labels = [file.label for file in files]
    table = pa.table({"text": texts, "label": labels}, _TEXT_AND_LABEL)
    rows = ExampleFiles(tuple(file.path for file in files))
    return FileRead(table, rows, 0, tuple(marked))


def split_lines(content: bytes) -> pa.Array:
    """Returns the lines of a text, cut at line feeds alone, without their ends."""
    lines = pc.split_pattern(one_text(content), "\n").flatten()
    if not content or content.endswith(b"\n"):
        lines = lines[:-1]
    if b"\r\n" in content or content.endswith(b"\r"):
        lines = pc.replace_substring_regex(lines, "\r$", "")
    return lines


def _read_parquet(path: Path) -> FileRead:
    """Reads one parquet file, without guessing columns from the names of its folders."""
    try:
        with path.open("rb") as stream:
            refuse_other_content(path, stream.read(64))
        file = pa.parquet.ParquetFile(path)
        require_unique(file.schema_arrow.names, str(path))
        table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise reader_fault(path, error) from error
    if not table.num_rows:
        raise DataError("the file has no rows", place=str(path), fix="fill the file or remove it")
    rows = FileRows(path, table.num_rows)
    return FileRead(plain_types(table, rows.place), rows)


def plain_types(table: pa.Table, place: Callable[[int], str]) -> pa.Table:
    """Returns the table with dictionaries as their values and string views as strings.

    Args:
        table: A table that another library made.
        place: Gives the place of a row, for messages.

    Raises:
        DataError: A string is not valid UTF-8.
    """
    for position, field in enumerate(table.schema):
        column = table.column(position)
        if pa.types.is_dictionary(column.type):
            column = _decoded(column)
        if pa.types.is_string_view(column.type):
            column = column.cast(pa.large_string())
        if column.type != field.type:
            table = table.set_column(position, field.name, column)
        _require_utf8(column, field.name, place)
    return table


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns the values of a dictionary column; repeated, strings may need more than 2 GiB."""
    values = column.type.value_type
    is_text = pa.types.is_string(values) or pa.types.is_string_view(values)
    kind = pa.large_string() if is_text else values
    chunks = [chunk.dictionary.cast(kind).take(chunk.indices) for chunk in column.chunks]
    return pa.chunked_array(chunks, kind)


def _require_utf8(column: pa.ChunkedArray, name: str, place: Callable[[int], str]) -> None:
    """Raises when a string column holds other bytes; the writer of a file may not have looked."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        for row, value in enumerate(column.cast(pa.large_binary())):
            raw = value.as_py() or b""
            if raw.decode("utf-8", "replace").encode() != raw:
                raise DataError(
                    f"the text in column {name!r} is not UTF-8",
                    place=place(row),
                    found=clip(raw),
                    fix="write the column again as UTF-8 text",
                ) from error
        raise DataError(
            f"column {name!r} is damaged", place=place(0), found=clip(str(error), 200)
        ) from error


def _lines_of_rows(path: Path, encoding: str | None, quoting: bool) -> Sequence[int] | None:
    """Returns the line of every row, or None when the file can no longer be read."""
    try:
        content, _ = load_text(path, encoding)
    except DataError:
        return None
    delimiter = _DELIMITERS.get(path.suffix.lower())
    if delimiter:
        return [line for line, _ in delimited_records(content, delimiter, quoting)][1:]
    return [line for line, _ in json_objects(path, content)]
