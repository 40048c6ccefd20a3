"""Collating in Rust: when it can be done, and by which recipe.

A recipe says everything about how batches are made. It is made anew when something that it follows
from has changed, which is looked at for every batch: a tokenizer may be changed between two.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from fastft.data.ragged_column import RaggedColumn
from fastft.data.token_dataset import BatchReference, TokenDataset

if TYPE_CHECKING:
    from fastft import _fastft

IGNORE_INDEX = -100
"""The label that no loss counts, as in torch's cross entropy."""


class _Settled(NamedTuple):
    """What was found out about a dataset, and from what it followed."""

    settings: tuple[Any, ...]
    reason: str | None
    recipe: _fastft.Recipe | None
    floats: tuple[str, ...]


class RustCollator:
    """What a collator needs to make a batch of a `BatchReference` in Rust.

    Each derives from this and from the class of transformers, which takes what Rust does not know.
    """

    _settled: _Settled | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A recipe does not travel; it is made again where it is needed.
        return {name: value for name, value in self.__dict__.items() if name != "_settled"}

    def why_not_rust(self, source: BatchReference | TokenDataset | object) -> str | None:
        """Says why batches of `source` would not be made in Rust; None when they would."""
        dataset = source.dataset if isinstance(source, BatchReference) else source
        if not isinstance(dataset, TokenDataset):
            return f"the dataset is a {type(dataset).__name__}, not a TokenDataset"
        reason = self._settle(dataset).reason
        if reason is None and isinstance(source, BatchReference):
            reason = self._unknown_batch(source)
        return reason

    def recipe(self, dataset: TokenDataset) -> _fastft.Recipe | None:
        """Gives the recipe for batches of `dataset`; None where `why_not_rust` has a reason."""
        return self._settle(dataset).recipe

    @abstractmethod
    def _settings(self) -> tuple[Any, ...]:
        """All that the recipe follows from, the dataset aside."""

    @abstractmethod
    def _unknown_dataset(self, dataset: TokenDataset) -> str | None:
        """Says what Rust does not know about the options, the tokenizer or the columns."""

    @abstractmethod
    def _new_recipe(self, dataset: TokenDataset) -> _fastft.Recipe:
        """Makes the recipe, when there is no such thing."""

    @abstractmethod
    def _finished(self, tensors: dict[str, Any], features: BatchReference) -> Any:
        """Gives the tensors the names and the type that the stock batch has."""

    def _unknown_batch(self, batch: BatchReference) -> str | None:
        if not batch.is_untouched:
            return "the examples of the batch were looked at, and perhaps changed"
        if batch.longest == 0:
            return "a batch that the stock collator treats as a special case"
        return None

    def _settle(self, dataset: TokenDataset) -> _Settled:
        settings = (dataset.identity, dataset.model_inputs, *self._settings())
        settled = self._settled
        if settled is None or settled.settings != settings:
            reason = self._unknown_dataset(dataset)
            recipe = None if reason else self._new_recipe(dataset)
            settled = self._settled = _Settled(settings, reason, recipe, _float_columns(dataset))
        return settled

    def rust_batch(self, features: BatchReference) -> Any | None:
        """Makes a batch; None where `why_not_rust` has a reason."""
        dataset = features.dataset
        settled = self._settle(dataset)
        if settled.recipe is None or self._unknown_batch(features):
            return None
        numbers = None if features.rows is features.indices else features.rows
        arrays = dataset.collate(features.indices, settled.recipe, numbers)
        return self._batch(arrays, features, settled.floats)

    def recipe_of(self, features: BatchReference) -> _fastft.Recipe | None:
        """Gives the recipe for this batch; None where `why_not_rust` has a reason."""
        recipe = self._settle(features.dataset).recipe
        return None if recipe is None or self._unknown_batch(features) else recipe

    def batch_of(
        self, arrays: dict[str, Any], features: BatchReference, recipe: _fastft.Recipe
    ) -> Any | None:
        """Turns what Rust made of `features` into a batch; None where `recipe` is outdated."""
        settled = self._settle(features.dataset)
        return self._batch(arrays, features, settled.floats) if settled.recipe is recipe else None

    def _batch(
        self, arrays: dict[str, Any], features: BatchReference, floats: tuple[str, ...]
    ) -> Any:
        from_numpy = torch.from_numpy
        tensors: dict[str, Any] = {
            name: array if type(array) is int else from_numpy(array)
            for name, array in arrays.items()
        }
        for name in floats:
            if name in tensors:
                # The stock collator makes floats from Python numbers, in torch's default type.
                tensors[name] = tensors[name].to(torch.get_default_dtype())
        return self._finished(tensors, features)


def is_int64(value: Any) -> bool:
    """Whether Rust can take the value for a whole number; what else torch takes is left to it."""
    return isinstance(value, int) and -(2**63) <= value < 2**63


def gathered_columns(dataset: TokenDataset) -> list[str]:
    """The columns that have as many numbers in every row."""
    columns = dataset.columns.items()
    return [name for name, column in columns if not isinstance(column, RaggedColumn)]


def _float_columns(dataset: TokenDataset) -> tuple[str, ...]:
    names = gathered_columns(dataset)
    return tuple(name for name in names if dataset.columns[name].dtype.kind == "f")  # type: ignore[union-attr]
