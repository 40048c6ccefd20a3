"""json and jsonl files: objects with named fields, one a line or in one array.

pyarrow reads; its faults name no line, so `json_faults` parses the lines once more in plain Python.

Invariant: a JSON string stays a string, a field has one type in all rows.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.json

from fastft.data.contents import read_in_blocks
from fastft.data.diagnose import clip, numbered_lines, reader_fault
from fastft.data.json_faults import json_fault, refuse_deadly, too_deep
from fastft.data.path_names import canonical_split
from fastft.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_JSON_SPACE = (" ", "\t", "\r", "\n")


def read_json(path: Path, content: bytes, text_columns: Sequence[str] = ()) -> pa.Table:
    """Returns the rows of a json or jsonl file.

    Args:
        path: The file; only a .json file may be one array.
        content: Its text as valid UTF-8, not blank.
        text_columns: Columns that become text, digit by digit, where the file holds numbers.

    Raises:
        DataError: A line is broken or no object, or a field changes its type.
    """
    is_array = is_json_array(path, content)
    source, lines = content, None
    if is_array:
        items = list(json_objects(path, content))
        source, lines = b"\n".join(raw for _, raw in items), [line for line, _ in items]
    else:
        _refuse_array_of_objects(path, content)
    refuse_deadly(path, source, lines)
    if path.suffix.lower() == ".json" and not is_array:
        _refuse_single_object(path, content)
    try:
        table = _parse(source) if source else pa.table({})
    except pa.ArrowInvalid as error:
        fault = json_fault(path, json_objects(path, content))
        raise fault or reader_fault(path, error) from error
    if not table.num_rows or not table.num_columns:
        raise DataError(
            "there are no objects with fields",
            place=str(path),
            found=clip(content[:200].decode("utf-8", "replace")),
            expected='objects such as {"text": "...", "label": 0}',
            fix="write every row as an object with named fields",
        )
    return _numbers_as_text(table, json_objects(path, content), text_columns)


def is_json_array(path: Path, content: bytes) -> bool:
    """Returns whether a file is one JSON array rather than an object per line."""
    return path.suffix.lower() == ".json" and content[:4096].lstrip()[:1] == b"["


def json_objects(path: Path, content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields the text of every object of a json or jsonl file with its line.

    Raises:
        DataError: The file should be one JSON array and is not.
    """
    if not is_json_array(path, content):
        yield from ((line, raw) for line, raw in numbered_lines(content) if raw.strip())
        return
    try:
        yield from _json_items(content.decode())
    except json.JSONDecodeError as error:
        raise DataError(
            f"broken JSON at column {error.colno}: {error.msg}",
            place=f"{path}, line {error.lineno}",
            found=clip(error.doc[max(0, error.pos - 20) : error.pos + 60]),
            expected="one array of objects, or one object per line",
            fix="repair the file",
        ) from error
    except RecursionError:
        raise too_deep(str(path)) from None


def _json_items(text: str) -> Iterator[tuple[int, bytes]]:
    r"""Yields the text of every item of a JSON array with the number of its first line.

    Raises:
        json.JSONDecodeError: The text is not one JSON array.

    Example:
        >>> list(_json_items('[{"a": 1},\n {"a":\n 2}]'))
        [(1, b'{"a": 1}'), (2, b'{"a":  2}')]
    """
    # Numbers stay text: only the ends of the items matter, and Python reads no endless integers.
    decoder, line, seen = json.JSONDecoder(parse_int=str, parse_float=str), 1, 0
    position = _skip_space(text, text.index("[") + 1)
    while text[position : position + 1] != "]":
        _, end = decoder.raw_decode(text, position)
        line, seen = line + text.count("\n", seen, position), position
        # Inside an item a line end can only be white space: strings hold it escaped.
        yield line, text[position:end].replace("\n", " ").encode("utf-8")
        position = _skip_space(text, end)
        if text[position : position + 1] == ",":
            position = _skip_space(text, position + 1)
        elif text[position : position + 1] != "]":
            raise json.JSONDecodeError("Expecting ',' or ']'", text, position)
    rest = _skip_space(text, position + 1)
    if rest < len(text):
        raise json.JSONDecodeError("Extra data", text, rest)


def _parse(content: bytes) -> pa.Table:
    """Reads JSON lines; strings that look like dates stay strings."""

    def read(schema: pa.Schema | None) -> pa.Table:
        parse = pa.json.ParseOptions(explicit_schema=schema)
        return read_in_blocks(
            content,
            lambda source, block: pa.json.read_json(
                source, pa.json.ReadOptions(block_size=block), parse
            ),
        )

    table = read(None)
    fields = [(field.name, _without_dates(field.type)) for field in table.schema]
    changed = [(name, kind) for name, kind in fields if kind != table.schema.field(name).type]
    return read(pa.schema(changed)).select(table.column_names) if changed else table


def _without_dates(kind: pa.DataType) -> pa.DataType:
    """Returns the type with strings in the place of dates and times, at any depth."""
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _without_dates(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(_without_dates(kind.value_type))
    return pa.string() if pa.types.is_temporal(kind) else kind


def _numbers_as_text(
    table: pa.Table, objects: Iterable[tuple[int, bytes]], names: Sequence[str]
) -> pa.Table:
    """Replaces columns of numbers by the digits as they stand in the file."""
    wrong = [
        name
        for name in names
        if name in table.column_names
        and (
            pa.types.is_integer(kind := table.schema.field(name).type) or pa.types.is_floating(kind)
        )
    ]
    if not wrong:
        return table
    rows = [json.loads(raw, parse_int=str, parse_float=str) for _, raw in objects]
    for name in wrong:
        column = pa.array([row.get(name) for row in rows], pa.large_string())
        table = table.set_column(table.column_names.index(name), name, column)
    return table


def _refuse_array_of_objects(path: Path, content: bytes) -> None:
    """Raises when a .jsonl file is one array, as only a .json file may be.

    Raises:
        DataError: The file is an array of objects.
    """
    if re.match(rb"\s*\[\s*\{", content):
        raise DataError(
            "the file is one JSON array, not an object per line",
            place=str(path),
            found=clip(content[:60].decode("utf-8", "replace")),
            expected='one JSON object per line, such as {"text": "...", "label": 0}',
            fix=f"rename it to {path.with_suffix('.json').name!r}, or write an object per line",
        )


def _refuse_single_object(path: Path, content: bytes) -> None:
    """Raises when a .json file is one object rather than objects line by line.

    Raises:
        DataError: The file is one object.
    """
    text = content.decode()
    try:
        decoder = json.JSONDecoder(parse_int=str, parse_float=str)
        value, end = decoder.raw_decode(text, _skip_space(text, 0))
    except json.JSONDecodeError:
        return
    if isinstance(value, dict) and _skip_space(text, end) == len(text):
        raise DataError(
            "the file is one JSON object, not rows",
            place=str(path),
            found=f"an object with the fields {clip(list(value))}",
            expected="one array of objects, or one object per line",
            fix=_fix_of_single_object(value),
        )


def _fix_of_single_object(value: dict[str, Any]) -> str:
    """Returns how to get at the rows that an object holds."""
    if any(map(canonical_split, value)):
        return "load it yourself and pass its splits: data=json.load(file)"
    if value and all(isinstance(part, list) for part in value.values()) and len(value) > 1:
        return "load it yourself and pass its columns: data=json.load(file)"
    if value and all(isinstance(part, dict) for part in value.values()) and len(value) > 1:
        return "it looks like DataFrame.to_json(): pass data=pandas.read_json(path)"
    lists = [name for name, part in value.items() if isinstance(part, list) and part]
    key = next((name for name in lists if isinstance(value[name][0], dict)), None)
    if key is None:
        return "write an array of objects, one a row"
    return f"load it yourself and pass the part that holds the rows: data=json.load(file)[{key!r}]"


def _skip_space(text: str, position: int) -> int:
    while text[position : position + 1] in _JSON_SPACE:
        position += 1
    return position
