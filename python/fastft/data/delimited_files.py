"""csv and tsv files: every column is text, lines end at a line feed only, rows keep their lines.

pyarrow reads; `delimited_records` splits the same bytes in plain Python, to name the line of a row
or of a fault. csv quotes as RFC 4180 has it; tsv has no quotes unless asked.

Invariant: both ways of splitting give the same records.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from fastft.data.contents import read_in_blocks
from fastft.data.diagnose import clip, line_at, numbered_lines, reader_fault, require_unique
from fastft.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FIELD = re.compile(rb'(?:"([^"]*+(?:""[^"]*+)*+)"\r?|([^,\n]*+))(,|\n|\Z)')
_WELL_QUOTED = re.compile(
    rb'(?:(?:"[^"]*+(?:""[^"]*+)*+"(?=,|\r?\n|\r?\Z)|(?!")[^,\n]*+)(?:\r?(?:,|\n)|\Z))*+'
)
_RECORDS = re.compile(
    rb'(?:(?:(?:"[^"]*+(?:""[^"]*+)*+"(?=,|\r?\n)|(?!")[^,\n]*+)(?:\r?,|(?=\r?\n)))++\r?\n)*+'
)
_NAME = re.compile(r"[^\W\d][\w .-]{0,39}")
# Noncharacters: Unicode reserves them for use inside a process, so real text holds none.
_STAND_INS = [chr(code).encode() for code in range(0xFDD0, 0xFDF0)]


def read_delimited(
    path: Path, content: bytes, delimiter: bytes, quoting: bool, *, is_beginning: bool = True
) -> pa.Table:
    """Returns the rows of a csv or tsv file, every column as text.

    Args:
        path: The file, for messages.
        content: Its text as valid UTF-8, not blank.
        delimiter: What separates the fields: a comma or a tab.
        quoting: Whether a double quote at the start of a field quotes it.
        is_beginning: Whether the rows are the first of the file, which may lack a header.

    Raises:
        DataError: The header is missing, a row is ragged, a quote is not closed, or no row follows.
        ColumnError: A name stands twice.
    """
    _refuse_other_separator(path, content, delimiter)
    if quoting and b'"' in content:
        _refuse_open_quote(path, content, delimiter)
    names = _header(path, content, delimiter, quoting)
    try:
        table = _parse(content, names, delimiter, quoting)
    except pa.ArrowInvalid as error:
        fault = _ragged_fault(path, content, delimiter, quoting)
        raise fault or reader_fault(path, error) from error
    if not table.num_rows:
        raise DataError(
            "the file holds a header and no rows",
            place=str(path),
            found=clip(names),
            expected="at least one row below the header",
            fix="fill the file or remove it",
        )
    if is_beginning:
        _refuse_missing_header(path, table, delimiter)
    return table


def records_end(content: bytes, delimiter: bytes, quoting: bool) -> int:
    r"""Returns where the last complete record of a csv or tsv text ends; 0 when none does.

    Example:
        >>> records_end(b'a,"x\ny"\nb,"z\n', b",", True)
        8
    """
    if not quoting or b'"' not in content:
        return content.rfind(b"\n") + 1
    match = _pattern(_RECORDS, delimiter).match(content)
    return match.end() if match else 0


def delimited_records(
    content: bytes, delimiter: bytes, quoting: bool
) -> Iterator[tuple[int, list[bytes]]]:
    r"""Yields the first line and the fields of every record of a csv or tsv file.

    Example:
        >>> list(delimited_records(b'a,b\n\n"x\ny",2\n', b",", True))
        [(1, [b'a', b'b']), (3, [b'x\ny', b'2'])]
    """
    if not quoting:
        for line, raw in numbered_lines(content):
            yield line, raw.split(delimiter)
        return
    line, start, fields, quoted = 1, 1, [], False
    for match in _pattern(_FIELD, delimiter).finditer(content):
        inside, bare, end = match.groups()
        fields.append(bare if inside is None else inside.replace(b'""', b'"'))
        quoted = quoted or inside is not None
        line += match[0].count(b"\n")
        if end == delimiter:
            continue
        if inside is None:
            fields[-1] = fields[-1].removesuffix(b"\r")
        if quoted or fields != [b""]:
            yield start, fields
        start, fields, quoted = line, [], False


def _parse(content: bytes, names: list[str], delimiter: bytes, quoting: bool) -> pa.Table:
    # pyarrow takes a carriage return alone for a line end; we do not.
    stand_in = b""
    if content.count(b"\r") > content.count(b"\r\n"):
        stand_in = next(mark for mark in _STAND_INS if mark not in content)
        content = re.sub(rb"\r(?!\n|\Z)", stand_in, content)
    quoting = quoting and b'"' in content  # without quotes pyarrow reads with all cores
    inner = [name.replace("\r", stand_in.decode()) for name in names]
    parse = pa.csv.ParseOptions(
        delimiter=delimiter.decode(),
        quote_char='"' if quoting else False,
        newlines_in_values=quoting,
    )
    convert = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(inner, pa.string()), strings_can_be_null=False
    )

    def read(source: pa.BufferReader, block: int) -> pa.Table:
        return pa.csv.read_csv(source, pa.csv.ReadOptions(block_size=block), parse, convert)

    table = read_in_blocks(content, read)
    if stand_in:
        columns = [pc.replace_substring(col, stand_in.decode(), "\r") for col in table.columns]
        table = pa.table(columns, names=names)
    return table


def _header(path: Path, content: bytes, delimiter: bytes, quoting: bool) -> list[str]:
    """Returns the names in the first record of a csv or tsv file.

    Raises:
        ColumnError: A name stands twice.
        DataError: The lines end with a carriage return alone, as on old Macs.
    """
    if b"\r" in content and b"\n" not in content:
        raise DataError(
            "the lines end with a carriage return alone",
            place=str(path),
            expected="lines that end with a line feed",
            fix="save the file with Unix or Windows line ends",
        )
    line, fields = next(delimited_records(content, delimiter, quoting))
    names = [field.decode() for field in fields]
    require_unique(names, f"{path}, line {line}")
    return names


def _refuse_other_separator(path: Path, content: bytes, delimiter: bytes) -> None:
    """Raises when the header is one field that holds several names, separated by something else.

    Raises:
        DataError: Header and first row are separated by something else.
    """
    first_lines = [line for _, line in islice(numbered_lines(content), 2)]
    if delimiter in first_lines[0]:
        return
    for separator in (";", "\t", "|", ","):
        parts = first_lines[0].decode().split(separator)
        if (
            len(parts) > 1
            and all(_NAME.fullmatch(part.strip('" ')) for part in parts)
            and all(separator.encode() in line for line in first_lines)
        ):
            suffix = {"\t": ".tsv", ",": ".csv"}.get(separator)
            raise DataError(
                f"the fields are separated by {separator!r}, not by {delimiter.decode()!r}",
                place=f"{path}, line 1",
                found=clip(first_lines[0].decode()),
                expected=f"names separated by {delimiter.decode()!r}, as the suffix says",
                fix=f"rename the file to {path.with_suffix(suffix).name!r}"
                if suffix
                else f"pass data=pandas.read_csv(path, sep={separator!r}, dtype=str), or save it "
                "with commas",
            )


def _refuse_open_quote(path: Path, content: bytes, delimiter: bytes) -> None:
    """Raises at the first quote that is not closed, or closed too early.

    pyarrow would take all text up to the next quote, or the end of the file, into one field.
    """
    match = _pattern(_WELL_QUOTED, delimiter).match(content)
    end = match.end() if match else 0
    if end == len(content):
        return
    line, _ = line_at(content, end)
    raise DataError(
        "a field that begins with a quote has no closing quote, or text after it",
        place=f"{path}, line {line}",
        found=clip(content[end : end + 100].decode("utf-8", "replace")),
        expected='quotes as in "she said ""no"""',
        fix="double the quotes inside the field and close it"
        if delimiter == b","
        else "leave quoting=True away: a tsv file needs no quotes",
    )


def _ragged_fault(path: Path, content: bytes, delimiter: bytes, quoting: bool) -> DataError | None:
    """Returns the error for the first record with more or fewer fields than the header, if any."""
    records = delimited_records(content, delimiter, quoting)
    _, header = next(records)
    for line, fields in records:
        if len(fields) != len(header):
            text = delimiter.join(fields).decode("utf-8", "replace")
            advice = "quote the fields that hold commas" if quoting else "remove the extra tabs"
            return DataError(
                f"the row has {_count(len(fields), 'field')}, the header {len(header)}",
                place=f"{path}, line {line}",
                found=clip(text),
                expected=f"{_count(len(header), 'field')}: {clip(_names(header))}",
                fix=f"{advice}, or fill in the missing fields",
            )
    return None


def _refuse_missing_header(path: Path, table: pa.Table, delimiter: bytes) -> None:
    """Raises when the name of a column is as common among its values as a value would be."""
    names = [name for name in table.column_names if name]
    if names == [str(number) for number in range(len(names))]:
        return  # 0, 1, 2... are the names that pandas gives
    for name in names:
        same = pc.sum(pc.equal(table.column(name), name)).as_py() or 0
        if same and same * 100 >= table.num_rows:
            example = repr(delimiter.decode().join(("label", "text")))[1:-1]
            raise DataError(
                "the first line looks like a row, not like a header",
                place=f"{path}, line 1",
                found=f"{clip(table.column_names)}; {name!r} is also a value below, in "
                f"{_count(same, 'row')}",
                expected="the names of the columns",
                fix=f"put a line with the {table.num_columns} names on top, such as {example}",
            )


def _pattern(pattern: re.Pattern[bytes], delimiter: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern.pattern.replace(b",", delimiter))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _names(header: list[bytes]) -> list[str]:
    return [name.decode("utf-8", "replace") for name in header]
