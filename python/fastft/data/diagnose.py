"""Where a fault lies: lines and bytes found in plain Python after a fast read has failed.

pyarrow reads fast but names no lines; what is here looks at the bytes once more when a message
needs a place. The faults of one format lie beside its reader.

Invariant: lines, columns and bytes are counted from 1, as editors count them.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastft.errors import ColumnError, DataError, Error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


def clip(value: object, width: int = 80) -> str:
    """Returns the repr of a value, cut to about `width` characters.

    Example:
        >>> clip("a" * 100, width=10)
        "'aaaaaa..."
    """
    try:
        text = repr(value)
    except Exception:  # an object of the user, or an integer of more digits than Python prints
        text = object.__repr__(value)
    return text if len(text) <= width else text[: width - 3] + "..."


def line_at(content: bytes, position: int) -> tuple[int, int]:
    r"""Returns the line and the byte within that line of a position.

    Example:
        >>> line_at(b"ab\ncd", 4)
        (2, 2)
    """
    return content.count(b"\n", 0, position) + 1, position - content.rfind(b"\n", 0, position)


def numbered_lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields every line that is not empty, without its line end, with its number."""
    for number, line in enumerate(content.split(b"\n"), start=1):
        bare = line.removesuffix(b"\r")
        if bare:
            yield number, bare


def utf8_fault(path: Path, content: bytes) -> DataError:
    """Returns the error that names the first byte of a file that is not UTF-8."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line, byte = line_at(content, error.start)
        start = content.rfind(b"\n", 0, error.start) + 1
        return DataError(
            f"byte {byte} of the line is not UTF-8 ({error.reason})",
            place=f"{path}, line {line}",
            found=f"0x{content[error.start]:02x} after {clip(content[start : error.start][-40:])}",
            expected="text in UTF-8",
            fix='save the file as UTF-8, or name its encoding, such as encoding="cp1252"',
        )
    raise AssertionError(f"{path} is UTF-8")


def nul_fault(path: Path, content: bytes) -> DataError:
    """Returns the error that names the first NUL byte, or says that the file looks like UTF-16."""
    line, byte = line_at(content, content.index(b"\0"))
    head = content[:4096]
    if head.count(b"\0") * 4 > len(head):
        return DataError(
            "the file is not UTF-8: it is full of NUL bytes, as UTF-16 is",
            place=str(path),
            fix='pass encoding="utf-16-le" (or "utf-16-be"), or save the file as UTF-8',
        )
    return DataError(
        f"byte {byte} of the line is NUL (0x00)",
        place=f"{path}, line {line}",
        expected="text without NUL bytes",
        fix="remove the NUL bytes, or check that this is a text file",
    )


def require_unique(names: Sequence[str], place: str) -> None:
    """Raises when two columns have the same name.

    Raises:
        ColumnError: A name stands twice.
    """
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        count = list(names).count(twice[0])
        raise ColumnError(
            f"the column name {twice[0]!r} stands {count} times"
            if twice[0]
            else f"{count} columns have no name",
            place=place,
            found=clip(list(names)),
            fix="give every column a name of its own",
        )


def reader_fault(path: Path, error: Exception) -> DataError:
    """Returns the error for a fault that pyarrow found and the second pass did not."""
    return DataError(
        "the file cannot be read",
        place=str(path),
        found=clip(str(error), 200),
        fix="check how it was written",
    )


@contextmanager
def row_places(place: Callable[[int], str]) -> Iterator[None]:
    """Gives errors whose place is a bare row number the place that the user knows.

    Args:
        place: From the row, as the code inside counts it, to words.

    Raises:
        Error: The error of the code inside, with its place.

    Example:
        >>> with row_places(lambda row: f"train.csv, line {row + 2}"):
        ...     raise DataError("the text is too long", place="row 3")
        Traceback (most recent call last):
        fastft.errors.DataError: train.csv, line 5: the text is too long
    """
    try:
        yield
    except Error as error:
        match = re.fullmatch(r"row (\d+)", error.place or "")
        if match is None:
            raise
        raise type(error)(
            error.problem,
            place=place(int(match[1])),
            found=error.found,
            expected=error.expected,
            fix=error.fix,
        ) from error
