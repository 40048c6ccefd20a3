"""The columns of a split: found by name, taken, and refused where they cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastft.errors import ColumnError, ConfigurationError, DataError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from fastft.data.sources import Split
    from fastft.data.token_dataset import TokenDataset


def find_column(split: Split, given: str | None, usual: Sequence[str], argument: str) -> str:
    """Finds the column that plays a part.

    Args:
        split: The split whose columns are looked at.
        given: The name that the user gave, if any.
        usual: The names that such a column usually has, the likeliest first.
        argument: The argument that names the column, for the message.

    Raises:
        ColumnError: No column has that name, or none is recognised.
        ConfigurationError: What was given is no name.
    """
    names = list(split.table.column_names)
    if given is not None:
        _check_name(given, argument)
        if given in names:
            return given
        close = nearest(given, names)
        raise ColumnError(
            f"there is no column {given!r}",
            place=f"{split.name} split",
            found=", ".join(map(repr, names)),
            expected=f"the column that {argument}= names",
            fix=f"did you mean {argument}={close[0]!r}?" if close else f"change {argument}=",
        )
    for name in usual:
        if name in names:
            return name
    raise ColumnError(
        f"no {argument} column was recognised",
        place=f"{split.name} split",
        found=", ".join(map(repr, names)),
        expected="one of " + ", ".join(map(repr, usual)),
        fix=_fix_of_unknown(names, usual, argument),
    )


def _check_name(given: Any, argument: str) -> None:
    if not isinstance(given, str):
        raise ConfigurationError(
            f"{argument} is of the wrong type",
            place=f"argument {argument}",
            found=f"{given!r} ({type(given).__name__})",
            expected="the name of a column, or None",
            fix=f"pass {argument}='my_{argument}', or leave {argument} out",
        )


def _fix_of_unknown(names: list[str], usual: Sequence[str], argument: str) -> str:
    """Says how to name the column that plays a part."""
    if "" in names:
        number = names.index("") + 1
        return (
            f"column {number} has no name: write one in the header, or name the column with "
            f"{argument}="
        )
    close = [hit for name in usual for hit in nearest(name, names, count=1)]
    if close:
        return f"did you mean {argument}={close[0]!r}?"
    return f"name it with {argument}=; where the first row holds data, put names above it"


def require_distinct(columns: Mapping[str, str | None]) -> None:
    """Raises when one column would play two parts, so that a model reads its own answer.

    Args:
        columns: The column of each part, by the argument that names it.

    Raises:
        ColumnError: Two of the columns are the same.
    """
    parts: dict[str, str] = {}
    for argument, column in columns.items():
        if column is None:
            continue
        if column in parts:
            raise ColumnError(
                f"column {column!r} is both {parts[column]} and {argument}",
                place=f"arguments {parts[column]}, {argument}",
                found=f"{parts[column]}={column!r}, {argument}={column!r}",
                expected="a column of its own for each",
                fix=f"name another column with {parts[column]}= or {argument}=",
            )
        parts[column] = argument


def require_tokens(dataset: TokenDataset, split: Split, column: str) -> None:
    """Raises when a row has no token at all: what some tokenizers make of an empty text.

    Raises:
        DataError: There is such a row; the first one is named.
    """
    empty = (dataset.lengths == 0).nonzero()[0]
    if len(empty):
        raise DataError(
            "the text has no token, so there is nothing to learn from",
            place=split.place(int(empty[0]), column),
            found=f"{len(empty):,} such rows; this tokenizer adds no special tokens",
            expected="at least one token in every row",
            fix="drop the rows without text",
        )


def require_column(split: Split, column: str) -> pa.ChunkedArray:
    """Takes a column that the training split has from any split.

    Raises:
        ColumnError: This split lacks it.
    """
    names = list(split.table.column_names)
    if column in names:
        return split.table.column(column)
    close = nearest(column, names)
    raise ColumnError(
        f"the {split.name} split has no column {column!r}, which the training split has",
        place=split.place(0),
        found=", ".join(map(repr, names)),
        expected=f"a column {column!r}",
        fix=f"rename {close[0]!r} to {column!r}" if close else "give all splits the same columns",
    )


def text_column(split: Split, column: str) -> pa.ChunkedArray:
    """Takes a column of texts and refuses anything that is not text.

    Raises:
        ColumnError: The column has another type or a missing value.
    """
    import pyarrow as pa

    values = require_column(split, column)
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        raise ColumnError(
            f"column {column!r} is not text",
            place=f"{split.name} split",
            found=f"type {values.type}",
            expected="strings",
            fix="name the text column with text= (and pair=), or turn the values into strings",
        )
    if values.null_count:
        row = int(values.is_null().index(True).as_py())
        raise ColumnError(
            "the text is missing",
            place=split.place(row, column),
            found="null",
            expected="a string",
            fix="fill the text in or drop the row",
        )
    return values
