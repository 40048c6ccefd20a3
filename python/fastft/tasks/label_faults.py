"""Labels that cannot be used: each fault with the row where it is met first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from fastft.errors import LabelError, nearest
from fastft.tasks.label_names import clip, is_integer, shorten, sort_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastft.data.sources import Split


def refuse_missing(split: Split, column: str, values: pa.Array) -> None:
    """Raises when a row has no label: null, NaN, or a string of white space.

    Raises:
        LabelError: There is such a row.
    """
    missing = values.is_null()
    if pa.types.is_floating(values.type):
        missing = pc.or_kleene(missing, pc.is_nan(values))
    elif pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        missing = pc.or_kleene(missing, pc.equal(pc.utf8_trim_whitespace(values), ""))
    row = pc.index(missing, True).as_py()
    if row >= 0:
        count = pc.sum(pc.fill_null(missing, True)).as_py()
        raise LabelError(
            "the label is missing",
            place=split.place(row, column),
            found=f"{values[row].as_py()!r} ({count:,} such rows)",
            expected="a label in every row",
            fix="fill the labels in or drop the rows",
        )


def refuse_decimals(split: Split, column: str, values: pa.Array) -> None:
    """Raises for a column of floating-point numbers, and says what they probably are.

    Raises:
        LabelError: Always.
    """
    distinct = pc.unique(values).to_pylist()
    beyond = pc.index(pc.greater_equal(pc.abs(values.cast(pa.float64())), 2.0**63), True).as_py()
    if beyond >= 0:
        raise LabelError(
            "a label is a number beyond 64 bits, which lost digits when it was read",
            place=split.place(beyond, column),
            found=str(values[beyond].as_py()),
            expected="integers of at most 18 digits, or names",
            fix="write the labels as strings, in quotes",
        )
    whole = all(float(value).is_integer() for value in distinct)
    raise LabelError(
        "the labels are decimal numbers, which name no class",
        place=f"{split.name} split, column {column!r}",
        found=f"{len(distinct):,} values of type {values.type}: {clip(map(str, distinct))}",
        expected="integers or names",
        fix="turn the column into integers (0.0 and 1.0 became decimals, often because a value "
        "was missing when it was read)"
        if whole
        else "name the label column with label=; decimals are scores, not classes",
    )


def refuse_mixture(split: Split, column: str, values: pa.Array, found: list[str]) -> None:
    """Raises when some labels are numbers and others are names.

    Raises:
        LabelError: Both are there.
    """
    numbers = [name for name in found if is_integer(name)]
    words = [name for name in found if not is_integer(name)]
    if not numbers or not words:
        return
    odd = min(numbers, words, key=len)[0]
    row = int(pc.index(values, pa.scalar(odd, values.type)).as_py())
    raise LabelError(
        "the labels mix numbers and names",
        place=split.place(row, column),
        found=f"{shorten(odd)} beside {clip(words if odd in numbers else numbers)}",
        expected="only numbers or only names",
        fix="correct the label, or pass label_names=[...] if all of them are names",
    )


def refuse_unnamed(
    split: Split, column: str, values: pa.Array, found: list[str], given: Sequence[str]
) -> None:
    """Raises when the data has labels that `label_names` lacks.

    Raises:
        LabelError: There is such a label.
    """
    lacking = [label for label in found if label not in given]
    if not lacking:
        return
    row = int(pc.index(values, pa.scalar(lacking[0], values.type)).as_py())
    rows = int(pc.sum(pc.is_in(values, value_set=pa.array(lacking, values.type))).as_py())
    close = nearest(lacking[0], given)
    fix = f"add {lacking[0]!r} to label_names, or drop its rows"
    if all(map(is_integer, found)) and len(found) == len(given):
        numbers = sorted(found, key=sort_key)
        ids = dict(zip(map(int, numbers), given, strict=True))
        fix = f"turn the numbers into names first ({str(ids)[:80]}), or leave label_names away"
    elif close:
        fix = f"did you mean {lacking[0]!r} where label_names has {close[0]!r}?"
    raise LabelError(
        f"label_names lacks {len(lacking)} of the {len(found)} labels of the data",
        place=split.place(row, column),
        found=f"{clip(lacking)} ({rows:,} such rows)",
        expected=f"labels that label_names has: {clip(given)}",
        fix=fix,
    )
