"""Which rows attention takes at once: the cheapest cut of the packed rows into slabs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fastft.modeling.padding_free.rows import Rows

CALL_COST = 4000.0
"""What one more call of attention costs on a CPU, in query-key pairs of a row."""


def choose_starts(rows: Rows, keys: Rows, first_row: int = 0) -> tuple[int, ...]:
    """Gives the first row of each slab: the cut whose calls and places together cost least.

    A slab of n rows costs a call, and n times its longest row of queries by that of keys.

    Args:
        rows: The rows of the queries, by length.
        keys: The rows of the keys, in the same order.
        first_row: The rows before it are in no slab.
    """
    queries, others = rows.lengths[first_row:], keys.lengths[first_row:]
    num_rows = len(queries)
    if num_rows and rows.device.type != "cpu":
        return (first_row,)  # launches cost more there than places
    best = np.zeros(num_rows + 1)
    first = [0] * (num_rows + 1)
    for end in range(1, num_rows + 1):
        counts = np.arange(end, 0, -1)
        longest_key = np.maximum.accumulate(others[:end][::-1])[::-1]
        costs = best[:end] + CALL_COST + counts * queries[end - 1] * longest_key
        first[end] = int(costs.argmin())
        best[end] = costs[first[end]]
    starts, end = [], num_rows
    while end:
        end = first[end]
        starts.append(first_row + end)
    return tuple(reversed(starts))
