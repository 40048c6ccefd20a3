"""Rows for `fastft predict`: lines of text or JSON in, a line of JSON a row out."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any

from fastft.api import load
from fastft.data.sources import open_source
from fastft.errors import DataError
from fastft.training.output import write_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# Files whose lines are rows; everything else is read as a table.
LINE_FILES = (".txt", ".jsonl", ".ndjson", "")


def predict_rows(
    run: Path, file: Path | None, output: Path | None, batch_size: int, options: dict[str, Any]
) -> None:
    """Predicts for rows of a file, or of standard input.

    Args:
        run: The folder of a run.
        file: The rows: a text, a line of JSON, or a row of a table each; None for standard input.
        output: Where the answers go; None for standard output.
        batch_size: Rows a forward pass.
        options: Options of the task.

    Raises:
        Error: The run or a row cannot be read.
    """
    model = load(run)
    if file is not None and file.suffix.lower() not in LINE_FILES:
        split = next(iter(open_source(file, require_train=False).splits.values()))
        inputs: Any = split.table
    else:
        inputs = _read_lines(file)
    answers = model.predict(inputs, batch_size=batch_size, **options)
    lines = "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers)
    if output is None:
        sys.stdout.write(lines)
    else:
        write_text(output, lines)


def _read_lines(file: Path | None) -> list[Any]:
    """Reads lines, as JSON where the first one is an object; blank lines are no rows."""
    name = "standard input" if file is None else str(file)
    try:
        with contextlib.ExitStack() as stack:
            stream: Iterable[bytes] = (
                sys.stdin.buffer if file is None else stack.enter_context(file.open("rb"))
            )
            lines = [line.removesuffix(b"\n").removesuffix(b"\r") for line in stream]
    except OSError as error:
        raise DataError(
            "the rows cannot be read",
            place=name,
            found=error.strerror or str(error),
            expected="a file of lines",
            fix="name a file that is there, or leave it out for standard input",
        ) from error
    rows = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    as_json = bool(rows) and rows[0][1].lstrip().startswith(b"{")
    return [_row(line, f"{name}, line {number}", as_json) for number, line in rows]


def _row(line: bytes, place: str, as_json: bool) -> Any:
    try:
        text = line.decode("utf-8-sig")
        row = json.loads(text) if as_json else text
    except (ValueError, RecursionError) as error:
        raise DataError(
            "the line cannot be read",
            place=place,
            found=str(error),
            expected="a JSON object, as on the first line" if as_json else "text in UTF-8",
            fix="correct the line",
        ) from error
    if as_json and not isinstance(row, dict):
        raise DataError(
            "the line is no JSON object",
            place=place,
            found=type(row).__name__,
            expected="an object, as on the first line",
            fix="correct the line",
        )
    return row
