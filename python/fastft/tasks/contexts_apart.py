"""A validation set of questions: no context, and no article, is on both sides of the cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fastft.data.sources import Split
from fastft.data.splits import cut_validation
from fastft.errors import DataError
from fastft.tasks.columns import text_column

if TYPE_CHECKING:
    from numpy.typing import NDArray

TITLE_COLUMN = "title"


def cut_by_context(
    split: Split, context_column: str, *, fraction: float, seed: int
) -> tuple[Split, Split]:
    """Holds back whole articles, or contexts with all their questions.

    Articles are told apart by the column `title`, if there are enough of them for the share asked
    for; two articles with the same context count as one.

    Args:
        split: The training split.
        context_column: The column with the contexts.
        fraction: The share that is held back, of articles or of contexts.
        seed: The seed of the cut.

    Raises:
        DataError: There is a single context.
    """
    groups = _codes(text_column(split, context_column))
    titles = _titles(split)
    if titles is not None:
        articles = _merged(groups, _codes(titles))
        # Of a handful of articles one would already be more than the share asked for.
        if len(np.unique(articles)) * fraction >= 1:
            groups = articles
    if len(np.unique(groups)) < 2:
        raise DataError(
            "there are too few contexts to cut a validation set",
            place=f"{split.name} split, column {context_column!r}",
            found="one context",
            expected="at least 2 contexts: one whose questions are trained on may not be tested on",
            fix="add contexts, or pass validation=... with rows of its own",
        )
    names = pa.chunked_array([pa.array(groups).cast(pa.large_string())])
    return cut_validation(split, np.zeros_like(groups), names, fraction=fraction, seed=seed)


def _titles(split: Split) -> pa.ChunkedArray | None:
    """Gives the titles of the articles, if every row has one."""
    if TITLE_COLUMN not in split.table.column_names:
        return None
    titles = split.table.column(TITLE_COLUMN)
    is_text = pa.types.is_string(titles.type) or pa.types.is_large_string(titles.type)
    return titles if is_text and not titles.null_count else None


def some_rows(split: Split, rows: NDArray[np.int64]) -> Split:
    """Gives a split of some of the rows, which keep their places."""
    mask = np.zeros(split.table.num_rows, bool)
    mask[rows] = True
    return Split(split.name, split.table.filter(pa.array(mask)), split.origin.take(rows))


def _codes(column: Any) -> NDArray[np.int64]:
    """Gives a number for each distinct value, int64 (B,)."""
    values = column.cast(pa.large_string())
    encoded = pa.chunked_array(values.chunks, pa.large_string()).combine_chunks()
    return np.asarray(encoded.dictionary_encode().indices.to_numpy(), np.int64)


def _merged(contexts: NDArray[np.int64], articles: NDArray[np.int64]) -> NDArray[np.int64]:
    """Joins articles that share a context: each row takes the lowest number it is linked to."""
    groups = articles.copy()
    while True:
        before = groups.copy()
        for links in (contexts, articles):
            lowest = np.full(links.max() + 1, len(groups), np.int64)
            np.minimum.at(lowest, links, groups)
            groups = lowest[links]
        if np.array_equal(groups, before):
            return groups
