"""A file as a run of small tables, for files that are larger than the memory for them.

    bytes ─► pieces that end with a record ─► the readers of whole files ─► tables, a few MiB each

Text is cut where a record ends, and each piece is read as if it were a file, so that a streamed
file means what a whole one means. A JSON array has no place to cut at and is read whole.

Invariant: the hash that comes out has seen every byte of the file, once, in order.
"""

from __future__ import annotations

import codecs
import re
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from fastft.data.contents import (
    check_encoding,
    refuse_other_content,
    refuse_unreadable,
    require_content,
    require_text,
)
from fastft.data.delimited_files import delimited_records, read_delimited, records_end
from fastft.data.diagnose import numbered_lines, reader_fault
from fastft.data.json_files import read_json
from fastft.data.readers import DEFAULT_OPTIONS, ReadOptions, plain_types, read_table, split_lines
from fastft.errors import DataError, Error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PIECE_BYTES = 2**23
"""How much of a file is read, and then encoded, at a time."""

_DELIMITERS = {".csv": b",", ".tsv": b"\t"}


@dataclass(frozen=True)
class TablePart:
    """Some rows of a file, in its order.

    Attributes:
        table: The rows.
        place: Gives the place of a row of the table, in words.
    """

    table: pa.Table
    place: Callable[[int], str]


def stream_tables(
    path: Path, hasher: Any, options: ReadOptions = DEFAULT_OPTIONS
) -> Iterator[TablePart]:
    """Reads a csv, tsv, json, jsonl, parquet or txt file in parts; a line of txt is a row `text`.

    Args:
        path: The file; its suffix says its format.
        hasher: An object of hashlib, which is given the bytes of the file.
        options: Quoting, encoding, and the columns to read as text.

    Raises:
        DataError: The file is empty, broken, compressed, or not text in the encoding given.
        ColumnError: Two columns have the same name.

    Example:
        >>> for part in stream_tables(Path("train.csv"), hashlib.sha256()):  # doctest: +SKIP
        ...     print(part.table.num_rows, part.place(0))
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from _parquet_parts(path, hasher)
    elif suffix == ".json":
        _hash_file(path, hasher)
        whole = read_table(path, options)
        yield TablePart(whole.table, whole.rows.place)
    else:
        yield from _text_parts(path, hasher, options)


def _text_parts(path: Path, hasher: Any, options: ReadOptions) -> Iterator[TablePart]:
    delimiter = _DELIMITERS.get(path.suffix.lower(), b"")
    quoting = bool(delimiter) and (options.quoting or delimiter == b",")
    header, lines_before, num_rows = b"", 0, 0
    pieces = _pieces(path, hasher, options.encoding, delimiter, quoting)
    for piece in _with_a_row(pieces, delimiter, quoting) if delimiter else pieces:
        moved = lines_before - header.count(b"\n")
        with _lines_moved(path, moved):
            require_text(path, piece)
            # Below a header white space is a row, as in a file that is read whole.
            if piece.strip(b"\r\n") if header else not piece.isspace():
                content = header + piece
                table, lines = _read_piece(path, content, delimiter, quoting, options, not header)
                yield TablePart(table, _line_of(path, lines, moved))
                num_rows += table.num_rows
        lines_before += piece.count(b"\n")
        if delimiter and not header and not piece.isspace():
            header = _header(piece, delimiter, quoting)
    if not num_rows:
        require_content(path, b"\n" * min(lines_before, 1))


def _with_a_row(pieces: Iterator[bytes], delimiter: bytes, quoting: bool) -> Iterator[bytes]:
    """Joins the first pieces until one holds the header and a row."""
    first = b""
    for piece in pieces:
        first += piece
        if len(list(islice(delimited_records(first, delimiter, quoting), 2))) == 2:
            break
    if first:
        yield first
    yield from pieces


def _read_piece(
    path: Path,
    content: bytes,
    delimiter: bytes,
    quoting: bool,
    options: ReadOptions,
    is_beginning: bool,
) -> tuple[pa.Table, Callable[[], list[int]]]:
    """Gives the rows of a piece, and what finds the line of each, counted in the piece."""
    if delimiter:
        table = read_delimited(path, content, delimiter, quoting, is_beginning=is_beginning)
        records = delimited_records
        return table, lambda: [line for line, _ in records(content, delimiter, quoting)][1:]
    if path.suffix.lower() == ".txt":
        lines = split_lines(content)
        kept = np.flatnonzero(pc.not_equal(pc.utf8_trim_whitespace(lines), "").to_numpy(False))
        return pa.table({"text": lines.take(kept)}), lambda: (kept + 1).tolist()
    table = read_json(path, content, options.text_columns)
    return table, lambda: [line for line, raw in numbered_lines(content) if raw.strip()]


def _line_of(path: Path, lines: Callable[[], list[int]], moved: int) -> Callable[[int], str]:
    return lambda row: f"{path}, line {lines()[row] + moved}"


def _pieces(
    path: Path, hasher: Any, encoding: str | None, delimiter: bytes, quoting: bool
) -> Iterator[bytes]:
    """Yields the text of a file in pieces that end with a record, as UTF-8 without its mark."""
    waiting: list[bytes] = []
    due = 0
    for text in _decoded(path, hasher, encoding):
        waiting.append(text)
        if sum(map(len, waiting)) < due:
            continue
        content = b"".join(waiting)
        end = records_end(content, delimiter, quoting)
        if end:
            yield content[:end]
        waiting = [content[end:]]
        # A record longer than a piece is looked at again when it has doubled, not at every piece.
        due = 0 if end else 2 * len(content)
    if rest := b"".join(waiting):
        yield rest


def _decoded(path: Path, hasher: Any, encoding: str | None) -> Iterator[bytes]:
    is_utf8 = check_encoding(encoding) in ("utf-8", "utf-8-sig")
    decoder = codecs.getincrementaldecoder(encoding or "utf-8")()
    is_beginning = True
    try:
        with path.open("rb") as file:
            size = PIECE_BYTES
            while raw := file.read(size):
                hasher.update(raw)
                if is_beginning:
                    refuse_unreadable(path, raw, encoding)
                text = raw if is_utf8 else decoder.decode(raw).encode()
                yield text.removeprefix(codecs.BOM_UTF8) if is_beginning else text
                is_beginning = False
            if not is_utf8:
                yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        raise DataError(
            f"the file is not {encoding}",
            place=str(path),
            found=str(error),
            fix="pass the encoding of the file, or save it as UTF-8 and leave encoding away",
        ) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _header(piece: bytes, delimiter: bytes, quoting: bool) -> bytes:
    """The first record of the first piece, with what stands before it and its line end."""
    records = delimited_records(piece, delimiter, quoting)
    next(records)
    second = next(records, None)
    lines = piece.split(b"\n")
    last = len(lines) if second is None else second[0] - 1
    return b"\n".join(lines[:last]).rstrip(b"\n") + b"\n"


def _parquet_parts(path: Path, hasher: Any) -> Iterator[TablePart]:
    _hash_file(path, hasher)
    try:
        file = pa.parquet.ParquetFile(path, pre_buffer=False)
        row_bytes = _bytes_of_a_row(file.metadata)
        start = 0
        for batch in file.iter_batches(batch_size=max(1, int(PIECE_BYTES / row_bytes))):
            table = pa.table(batch)
            place = _row_of(path, start)
            yield TablePart(plain_types(table, place), place)
            start += table.num_rows
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, Error):
            raise
        raise reader_fault(path, error) from error
    if not start:
        raise DataError("the file has no rows", place=str(path), fix="fill the file or remove it")


def _bytes_of_a_row(metadata: Any) -> float:
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    size: int = sum(group.total_byte_size for group in groups)
    return max(1.0, size / max(int(metadata.num_rows), 1))


def _row_of(path: Path, start: int) -> Callable[[int], str]:
    return lambda row: f"{path}, row {start + row}"


def _hash_file(path: Path, hasher: Any) -> None:
    try:
        with path.open("rb") as file:
            refuse_other_content(path, file.peek(64))
            while block := file.read(PIECE_BYTES):
                hasher.update(block)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(
        "the file cannot be read",
        place=str(path),
        found=error.strerror or str(error),
        fix="check that it is a file and that you may read it",
    )


@contextmanager
def _lines_moved(path: Path, lines_before: int) -> Iterator[None]:
    """Counts the lines that errors name from the beginning of the file, not of the piece."""
    try:
        yield
    except Error as error:
        match = re.fullmatch(re.escape(str(path)) + r", line (\d+)", error.place or "")
        if match is None or not lines_before:
            raise
        raise type(error)(
            error.problem,
            place=f"{path}, line {int(match[1]) + lines_before}",
            found=error.found,
            expected=error.expected,
            fix=error.fix,
        ) from error
