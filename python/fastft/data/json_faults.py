"""What is wrong with a json or jsonl file: found in plain Python, line by line.

pyarrow names no lines, and two things crash it: values nested tens of thousands of levels deep, and
a `null` where a block of rows begins. Both are refused before it reads.
"""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.data.diagnose import clip, line_at
from fastft.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_JSON_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "a boolean"),  # before int, of which it is a subclass
    (int, "a number"),
    (float, "a number"),
    (str, "a string"),
    (list, "an array"),
    (dict, "an object"),
)

# Deeper values crash pyarrow or Python, and no row of a real table is as deep.
MAX_NESTING = 100
_NULL_LINE = re.compile(rb"\n\s*null\b")
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # up and down, as int8
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))


def refuse_deadly(path: Path, content: bytes, lines: Sequence[int] | None = None) -> None:
    """Raises for what would crash pyarrow rather than make it fail.

    Args:
        path: The file, for messages.
        content: Objects in JSON, one a line.
        lines: Where each of them stands in the file; None when `content` is the whole file.

    Raises:
        DataError: A row is null, or nested too deep.
    """

    def place(line: int) -> str:
        return f"{path}, line {line if lines is None else lines[line - 1]}"

    null = _first_null_row(content)
    if null is not None:
        raise DataError(
            "the line holds null, not an object",
            place=place(null),
            found="null",
            expected='one JSON object per line, such as {"text": "...", "label": 0}',
            fix="repair the line or remove it",
        )
    deep = _first_deep_line(content)
    if deep is not None:
        raise too_deep(place(deep))


def too_deep(place: str) -> DataError:
    """Returns the error for a value that is nested too deep."""
    return DataError(
        f"a value is nested more than {MAX_NESTING} levels deep",
        place=place,
        found="arrays or objects inside each other",
        expected="objects and arrays of a few levels",
        fix="repair the file, or leave the field out",
    )


def _first_null_row(content: bytes) -> int | None:
    """Returns the line of the first null that stands in the place of a row, if there is one."""
    if content.lstrip().startswith(b"null"):
        return line_at(content, content.index(b"null"))[0]
    for match in _NULL_LINE.finditer(content):
        # Inside a row a line may begin with null too, but not after a closing brace.
        before = content[max(0, match.start() - 64) : match.start()].rstrip()
        if before.endswith(b"}"):
            return line_at(content, match.end() - 1)[0]
    return None


def _first_deep_line(content: bytes) -> int | None:
    """Returns the line of the first bracket beyond the greatest depth, if there is one."""
    if not np.any(_heights(content) > MAX_NESTING):
        return None
    # So far brackets in strings counted too. Strings hold no line ends: the lines stay as they are.
    unescaped = content.replace(rb"\\", b"").replace(rb"\"", b"")
    outside = b"".join(unescaped.split(b'"')[::2])
    deep = np.flatnonzero(_heights(outside) > MAX_NESTING)
    if not len(deep):
        return None
    brackets = re.finditer(rb"[\[\]{}]", outside)
    return line_at(outside, next(islice(brackets, int(deep[0]), None)).start())[0]


def _heights(content: bytes) -> NDArray[np.int32]:
    """Returns for each bracket how far the depth lies above its lowest point so far."""
    depths = np.frombuffer(content.translate(_STEPS, _NO_BRACKETS), np.int8).cumsum(dtype=np.int32)
    heights: NDArray[np.int32] = depths - np.minimum.accumulate(np.minimum(depths, 0))
    return heights


def json_fault(path: Path, lines: Iterable[tuple[int, bytes]]) -> DataError | None:
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
