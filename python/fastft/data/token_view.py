"""Tokenised datasets of Hugging Face that a loader is given as they are: read as token datasets.

What a view cannot give exactly (booleans, a format of the user's own, texts, rows with padding)
stays with torch's own path, and the reason is told.
"""

from __future__ import annotations

import sys
from typing import Any

import torch

from fastft.data.token_dataset import TokenDataset
from fastft.errors import ColumnError, DataError

WHOLE_NUMBER_FORMATS = ("torch", "numpy")
"""Formats whose whole numbers end in a batch as plain rows do; floats have types of their own."""


class TokenView:
    """The rows of a data set, with a `TokenDataset` at its root where that gives the same batches.

    Args:
        dataset: A `TokenDataset`, a tokenised `datasets.Dataset`, a `Subset` of one, or any other.

    Attributes:
        dataset: What to take rows from; None where there is a reason.
        root: The `TokenDataset` that its rows lie in.
        reason: Why there is none.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset: Any = None
        self.root: TokenDataset | None = None
        self.reason: str | None = None
        self._found = _state(dataset)
        inner, subsets = _unwrapped(dataset)
        if isinstance(inner, TokenDataset):
            self.dataset, self.root = dataset, inner
        elif _is_hugging_face(inner):
            self._read(inner, subsets)
        else:
            self.reason = f"the dataset is a {type(inner).__name__}, not a TokenDataset"

    def is_of(self, dataset: Any) -> bool:
        """Whether `dataset` is still what it was; `set_format` changes one in place."""
        return self._found == _state(dataset)

    @property
    def is_copy(self) -> bool:
        """Whether the rows are taken from another object than the one that was given."""
        return self.root is not None and self._found[1] is not None

    def _read(self, dataset: Any, subsets: list[Any]) -> None:
        self.reason = _unknown_format(dataset)
        if self.reason is not None:
            return
        try:
            self.root = TokenDataset.from_dataset(dataset)
        except (ColumnError, DataError) as error:
            self.reason = f"{error.place}: {error.problem}" if error.place else error.problem
            return
        self.dataset = self.root
        for subset in reversed(subsets):
            self.dataset = torch.utils.data.Subset(self.dataset, subset.indices)


def _unwrapped(dataset: Any) -> tuple[Any, list[Any]]:
    """The data set below torch's subsets, and these from the outermost on."""
    subsets = []
    while type(dataset) is torch.utils.data.Subset:
        subsets.append(dataset)
        dataset = dataset.dataset
    return dataset, subsets


def _state(dataset: Any) -> tuple[Any, Any]:
    inner, _ = _unwrapped(dataset)
    return id(inner), dict(inner.format) if _is_hugging_face(inner) else None


def _is_hugging_face(dataset: Any) -> bool:
    # Nobody has such a dataset who has not imported the library.
    library = sys.modules.get("datasets")
    return library is not None and type(dataset) is getattr(library, "Dataset", None)


def _unknown_format(dataset: Any) -> str | None:
    """Says what a view would give otherwise than the format of the dataset; None when nothing."""
    format_ = dataset.format
    if format_["type"] not in (None, *WHOLE_NUMBER_FORMATS) or format_["format_kwargs"]:
        return f"the format of the dataset is {format_['type']}, with settings of its own"
    if format_["output_all_columns"]:
        return "the dataset gives columns in two formats"
    for name in format_["columns"]:
        kind = getattr(dataset.features[name], "dtype", "")
        if kind == "bool":
            return f"column {name} holds booleans"
        is_exact = format_["type"] is None and torch.get_default_dtype() == torch.float32
        if kind.startswith("float") and not is_exact:
            return f"column {name} holds floats, whose type follows from the format"
    return None
