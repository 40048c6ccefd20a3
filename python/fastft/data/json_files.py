"""json and jsonl files: objects with named fields, one a line or in one array.

pyarrow reads; its faults name no line, so `_json_fault` parses the lines once more in plain Python.

Invariant: a JSON string stays a string, a field has one type in all rows.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.json

from fastft.data.contents import read_in_blocks
from fastft.data.diagnose import clip, numbered_lines, reader_fault
from fastft.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_JSON_SPACE = (" ", "\t", "\r", "\n")
_JSON_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "a boolean"),  # before int, of which it is a subclass
    (int, "a number"),
    (float, "a number"),
    (str, "a string"),
    (list, "an array"),
    (dict, "an object"),
)


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
    if path.suffix.lower() == ".json" and not is_array:
        _refuse_single_object(path, content)
    source = content
    if is_array:
        source = b"\n".join(raw for _, raw in json_objects(path, content))
    try:
        table = _parse(source) if source else pa.table({})
    except pa.ArrowInvalid as error:
        fault = _json_fault(path, json_objects(path, content))
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


def _json_items(text: str) -> Iterator[tuple[int, bytes]]:
    r"""Yields the text of every item of a JSON array with the number of its first line.

    Raises:
        json.JSONDecodeError: The text is not one JSON array.

    Example:
        >>> list(_json_items('[{"a": 1},\n {"a":\n 2}]'))
        [(1, b'{"a": 1}'), (2, b'{"a":  2}')]
    """
    decoder, line, seen = json.JSONDecoder(), 1, 0
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


def _refuse_single_object(path: Path, content: bytes) -> None:
    """Raises when a .json file is one object rather than objects line by line.

    Raises:
        DataError: The file is one object.
    """
    text = content.decode()
    try:
        value, end = json.JSONDecoder().raw_decode(text, _skip_space(text, 0))
    except json.JSONDecodeError:
        return
    if isinstance(value, dict) and _skip_space(text, end) == len(text):
        key = next(iter(value), "rows")
        raise DataError(
            "the file is one JSON object, not rows",
            place=str(path),
            found=f"an object with the fields {clip(list(value))}",
            expected="one array of objects, or one object per line",
            fix=f"load it yourself and pass the part that holds the rows: json.load(file)[{key!r}]",
        )


def _json_fault(path: Path, lines: Iterable[tuple[int, bytes]]) -> DataError | None:
    """Returns the error for the first line that is no JSON object or changes a type, if any.

    Args:
        path: The file.
        lines: The text of every object with the number of its line.
    """
    types: dict[str, tuple[str, int]] = {}
    for number, raw in lines:
        value = _object_or_fault(f"{path}, line {number}", raw)
        if isinstance(value, DataError):
            return value
        fault = _type_fault(value, "", number, types)
        if fault:
            name, now, (before, line) = fault
            return DataError(
                f"field {name!r} is {now} here and {before} in line {line}",
                place=f"{path}, line {number}",
                expected=f"one type for {name!r} in all rows",
                fix=f"write {name!r} as {before} (or everywhere as a string)",
            )
    return None


def _object_or_fault(place: str, raw: bytes) -> dict[str, Any] | DataError:
    """Returns the object that a line holds, or the error that says why it holds none."""
    try:
        value = json.loads(raw, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        problem = f"broken JSON at column {error.colno}: {error.msg}"
    except ValueError as error:
        problem = str(error)
    else:
        if isinstance(value, dict):
            return value
        problem = f"the line holds {_json_type(value)}, not an object"
    return DataError(
        problem,
        place=place,
        found=clip(raw.decode("utf-8", "replace")),
        expected='one JSON object per line, such as {"text": "...", "label": 0}',
        fix="repair the line or remove it",
    )


def _type_fault(
    value: Any, name: str, line: int, types: dict[str, tuple[str, int]]
) -> tuple[str, str, tuple[str, int]] | None:
    """Returns name, type and earlier type of the first field whose type differs from before."""
    if value is None:
        return None
    now = _json_type(value)
    before = types.setdefault(name, (now, line))
    if before[0] != now:
        return name, now, before
    if isinstance(value, dict):
        inner = [(f"{name}.{key}" if name else key, item) for key, item in value.items()]
    else:
        inner = [(f"{name}[]", item) for item in value] if isinstance(value, list) else []
    for key, item in inner:
        fault = _type_fault(item, key, line, types)
        if fault:
            return fault
    return None


def _skip_space(text: str, position: int) -> int:
    while text[position : position + 1] in _JSON_SPACE:
        position += 1
    return position


def _json_type(value: object) -> str:
    return next((name for kind, name in _JSON_TYPES if isinstance(value, kind)), "null")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise ValueError(f"the field {twice!r} stands twice in one object")
    for text in (item for pair in pairs for item in pair if isinstance(item, str)):
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError(f"{clip(text)} holds half of a surrogate pair (\\ud800 to \\udfff)")
    return dict(pairs)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON; write null")
