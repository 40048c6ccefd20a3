"""Source and target columns: which they are, and their texts.

A translation of `datasets` stands in one column of dicts, `{"translation": {"de": "...", "en":
"..."}}`; its fields count as columns here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastft.errors import ColumnError, ConfigurationError, DataError, nearest
from fastft.tasks.columns import find_column

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastft.data.sources import Source, Split

PAIRS = (
    ("source", "target"),
    ("src", "tgt"),
    ("input_text", "target_text"),
    ("article", "highlights"),
    ("document", "summary"),
    ("text", "summary"),
)
NESTED = "translation"


def with_fields(split: Split) -> Split:
    """Gives a split in which the fields of the column `translation` are columns."""
    names = split.table.column_names
    if NESTED not in names or not pa.types.is_struct(split.table.column(NESTED).type):
        return split
    column, table = split.table.column(NESTED), split.table
    for field in column.type:
        if field.name not in names:
            table = table.append_column(field.name, pc.struct_field(column, field.name))
    return replace(split, table=table.drop_columns([NESTED]))


def find_pair(source: Source, options: Mapping[str, Any]) -> tuple[str, str]:
    """Finds the columns of source and target in the training split.

    Args:
        source: The data.
        options: `source` and `target`: names of columns, recognised when None.

    Raises:
        ColumnError: There is no such column, none is recognised, or several pairs are.
        ConfigurationError: Both are the same column.
    """
    train = with_fields(source.splits["train"])
    given = options.get("source"), options.get("target")
    # A list of pairs; files and folders that carry labels in their names have them too.
    is_pair_list = source.columns_are_fixed and source.label_names is None
    if source.columns_are_fixed and not is_pair_list:
        raise _labels_not_texts(source)
    if given == (None, None):
        return ("text", "label") if is_pair_list else _recognised(train)
    usual = [tuple(dict.fromkeys(pair[part] for pair in PAIRS)) for part in (0, 1)]
    chosen = (
        find_column(train, given[0], usual[0], "source"),
        find_column(train, given[1], usual[1], "target"),
    )
    if chosen[0] == chosen[1]:
        raise ConfigurationError(
            f"column {chosen[0]!r} is both source and target",
            place="arguments source, target",
            found=f"source={given[0]!r}, target={given[1]!r}",
            expected="a column of its own for each",
            fix="name another column with source= or target=",
        )
    return chosen


def _labels_not_texts(source: Source) -> DataError:
    return DataError(
        "the names of the files are read as labels, where source and target texts are needed",
        place=source.description,
        expected="parallel files (train.de and train.en), or a table with two columns of text",
        fix='name the files with source= and target=, for example source="de", target="en"',
    )


def _recognised(train: Split) -> tuple[str, str]:
    names = list(train.table.column_names)
    found = [pair for pair in PAIRS if set(pair) <= set(names)]
    if len(found) == 1:
        return found[0]
    expected = " or ".join(f"{first!r} with {second!r}" for first, second in found or PAIRS)
    texts = [name for name in names if _is_text(train.table.column(name).type)]
    close = nearest("source", names, count=1)
    raise ColumnError(
        "several pairs of columns could be source and target"
        if found
        else "no columns of source and target were recognised",
        place=f"{train.name} split",
        found=", ".join(map(repr, names)),
        expected=expected,
        fix=f"name them, for example source={texts[0]!r}, target={texts[1]!r}; the direction is "
        "yours to say"
        if len(texts) > 1 and not close
        else "name them with source= and target=",
    )


def texts_of(split: Split, column: str, argument: str) -> pa.ChunkedArray:
    """Takes the texts of a column.

    Args:
        split: The split.
        column: The name of the column, or of a field of `translation`.
        argument: The argument that names it, for messages.

    Raises:
        ColumnError: The column is missing, is no text, or lacks a value.
    """
    table = with_fields(split).table
    if column not in table.column_names:
        close = nearest(column, table.column_names, count=1)
        raise ColumnError(
            f"the {split.name} split has no column {column!r}, which the training split has",
            place=split.place(0),
            found=", ".join(map(repr, table.column_names)),
            expected=f"a column {column!r}",
            fix=f"rename {close[0]!r} to {column!r}" if close else "give all splits both columns",
        )
    values = table.column(column)
    if not _is_text(values.type):
        raise ColumnError(
            f"the {argument} column {column!r} is not text",
            place=f"{split.name} split",
            found=f"type {values.type}",
            expected="strings",
            fix=f"name the column of texts with {argument}=, or turn the values into strings",
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


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def prefixed(texts: pa.ChunkedArray, prefix: str) -> pa.ChunkedArray:
    """Puts a prefix before each text."""
    if not prefix:
        return texts
    empty, before = (pa.scalar(text, pa.large_string()) for text in ("", prefix))
    return pc.binary_join_element_wise(before, texts.cast(pa.large_string()), empty)


def is_blank(texts: pa.ChunkedArray) -> np.ndarray:
    """Says of each text whether it is empty or white space alone, bool (rows,)."""
    blank = pc.equal(pc.utf8_trim_whitespace(texts), "")
    return np.asarray(blank.to_numpy(), dtype=bool)


def take(split: Split, kept: np.ndarray) -> Split:
    """Gives the rows of a split for which `kept`, bool (rows,), is true; they keep their places."""
    if kept.all():
        return split
    rows = np.flatnonzero(kept)
    return replace(split, table=split.table.filter(pa.array(kept)), origin=split.origin.take(rows))
