"""All rows of the suite, in the order in which they run.

A new row is added to the list of its module in `rows/`; a new module is named here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastft.bench.row import Row

MODULES = (
    *("tokens", "padded", "files"),
    *("collators", "loaders", "plans", "growth"),
    *("loss", "instructions"),
    *("start", "train", "unpadded", "frozen", "evaluation", "first_step", "chat"),
)


def all_rows() -> list[Row]:
    """Every row; nothing is run, and no peer is imported."""
    rows: list[Row] = []
    for name in MODULES:
        rows.extend(import_module(f"fastft.bench.rows.{name}").rows())
    return rows
