"""torch's DataLoader, which says how its batches are made, and goes on where it was stopped.

A subclass with the same arguments: with a `TokenDataset` and one of our collators the batches are
made in Rust, with anything else by torch's own path. The batches are the same either way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch.utils.data.dataloader import _DatasetKind

from fastft.data.collator import DataCollatorWithPadding
from fastft.data.flattening_collator import DataCollatorWithFlattening
from fastft.data.language_modeling_collator import DataCollatorForLanguageModeling
from fastft.data.loader_iterators import MultiProcessIterator, SingleProcessIterator
from fastft.data.loader_state import Progress, checked_state, epochs, fingerprint, parts
from fastft.data.loader_threads import RustIterator, ThreadedIterator
from fastft.data.plan_order import batches_seen
from fastft.data.sampler_state import SamplerIterator, Stateful
from fastft.data.seq2seq_collator import DataCollatorForSeq2Seq
from fastft.data.token_classification_collator import DataCollatorForTokenClassification
from fastft.data.token_view import TokenView
from fastft.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.utils.data.dataloader import _BaseDataLoaderIter

    from fastft.data.rust_collator import RustCollator

T_co = TypeVar("T_co", covariant=True)

COLLATORS = (
    DataCollatorWithPadding,
    DataCollatorForLanguageModeling,
    DataCollatorForSeq2Seq,
    DataCollatorForTokenClassification,
    DataCollatorWithFlattening,
)
"""Whose batches Rust makes."""


class DataLoader(torch.utils.data.DataLoader[T_co]):
    """A drop-in for `torch.utils.data.DataLoader`.

    Its order and its random draws are torch's, so that a swap changes no result. With a
    `TokenDataset` and a collator of fastft, `num_workers` is a number of threads, and no process is
    started; with anything else it is torch's. A tokenised `datasets.Dataset` is read as a
    `TokenDataset` where that gives the same batches.

    Example:
        >>> loader = DataLoader(dataset, batch_size=16, shuffle=True,  # doctest: +SKIP
        ...                     collate_fn=DataCollatorWithPadding(tokenizer))
        >>> loader.explain()  # doctest: +SKIP
        'rust: batches are gathered and padded by the Rust collator, when they are asked for'
    """

    progress: Progress | None = None
    """Where the epoch that began last stands; None before the first."""
    _resumed: dict[str, Any] | None = None
    """The state that the next epoch goes on from."""
    _begun: _BaseDataLoaderIter | None = None
    """An epoch that `state_dict` began and nobody has iterated yet."""
    _found: torch.Tensor | None = None
    _view: TokenView | None = None

    def __iter__(self) -> _BaseDataLoaderIter:
        if self._begun is not None:
            begun, self._begun = self._begun, None
            return begun
        if self._resumed is not None and self._resumed["finished"]:
            self._finish_epoch()
        self._found = None if self._resumed is None else torch.get_rng_state()
        iterator = super().__iter__()
        self._resumed = None
        return iterator

    def set_epoch(self, epoch: int) -> None:
        """Tells sampler, data set and collator which epoch comes next, as far as they ask."""
        for part in parts(self).values():
            if hasattr(part, "set_epoch"):
                part.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Gives where this loader stands, behind the batch that was handed out last.

        Before the first batch of an epoch it begins one, so that its order is settled.

        Returns:
            A dict of strings, numbers and dicts, below a kilobyte for samplers of fastft and for
            torch's random order without a generator of its own; the states of a sampler or data
            set that have some are in it as they are.

        Raises:
            ConfigurationError: The state of the data set lies in other processes.

        Example:
            >>> state = loader.state_dict()  # doctest: +SKIP
            >>> other.load_state_dict(state)  # doctest: +SKIP
        """
        if self._resumed is not None:
            return self._resumed
        self._check_state_is_here()
        if self.progress is None:
            self._begun = iter(self)
        assert self.progress is not None
        return {"fingerprint": fingerprint(self), **self.progress.state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lets the next epoch begin where `state_dict` was called.

        Raises:
            DataError: The state is none of ours, or belongs to other data or another order.
        """
        self._begun = self.progress = self._resumed = None
        if state_dict:
            self._resumed = checked_state(state_dict, self)
            for name, epoch in self._resumed["epochs"].items():
                parts(self)[name].set_epoch(epoch)

    def explain(self) -> str:
        """Says whether the Rust collator makes the batches, and if not, why not."""
        reason = self._why_not_rust()
        if reason is not None:
            return f"torch: {reason}"
        how = "rust: batches are gathered and padded by the Rust collator"
        if self.num_workers == 0:
            return f"{how}, when they are asked for"
        if self.multiprocessing_context is not None:
            return f"{how}, in processes, because multiprocessing_context is given"
        return f"{how}, ahead of time on {self.num_workers} threads"

    def __getstate__(self) -> dict[str, Any]:
        # An epoch that has begun stays here, as the iterators of torch do.
        return {**self.__dict__, "progress": None, "_begun": None, "_iterator": None, "_view": None}

    @property
    def view(self) -> TokenView:
        """What the Rust collator takes rows from."""
        if self._view is None or not self._view.is_of(self.dataset):
            self._view = TokenView(self.dataset)
        return self._view

    @property
    def rows(self) -> Any:
        """The data set, as the batches are made of it: a token dataset where Rust makes them."""
        return self.view.dataset if self._why_not_rust() is None else self.dataset

    @property
    def is_resumed(self) -> bool:
        """Whether the next epoch goes on from a state."""
        return self._resumed is not None

    @property
    def _index_sampler(self) -> Any:
        return _Indices(self, super()._index_sampler)

    def _get_iterator(self) -> _BaseDataLoaderIter:
        if self.num_workers == 0:
            if self._why_not_rust() is None:
                return RustIterator(self)
            return SingleProcessIterator(self, self._resumed or {})
        if self._has_threads():
            return ThreadedIterator(self)
        self.check_worker_number_rationality()
        return MultiProcessIterator(self)

    def _has_threads(self) -> bool:
        asked = self.num_workers > 0 and self.multiprocessing_context is None
        return asked and self._why_not_rust() is None

    def check_worker_number_rationality(self) -> None:
        """Warns, as torch does, of more processes than cores; threads without work cost nothing."""
        if not self._has_threads():
            super().check_worker_number_rationality()

    def begin_epoch(self, sampler: Any) -> SamplerIterator:
        """Begins the indices of an epoch; called by what `_index_sampler` gives."""
        resumed = self._resumed or {}
        order = resumed.get("order")
        # The indices of an iterable data set say nothing.
        if self._dataset_kind == _DatasetKind.Iterable:
            order = None
        num_yielded = batches_seen(resumed.get("num_yielded", 0), order, sampler)
        indices = SamplerIterator(
            sampler,
            order,
            num_yielded,
            self._found if order else None,
            as_arrays=self._why_not_rust() is None,
        )
        self.progress = Progress(indices, epochs(self), num_yielded)
        return indices

    def _finish_epoch(self) -> None:
        """Leaves sampler and data set as the end of the epoch of the state left them."""
        found = torch.get_rng_state()
        if self.num_workers == 0:
            SingleProcessIterator(self, self._resumed or {})
        else:
            self.begin_epoch(super()._index_sampler)
        assert self.progress is not None
        if self._dataset_kind == _DatasetKind.Map:
            self.progress.indices.exhaust()
        torch.set_rng_state(found)
        self._resumed = None

    def _check_state_is_here(self) -> None:
        is_iterable = self._dataset_kind == _DatasetKind.Iterable
        if self.num_workers > 0 and (is_iterable or isinstance(self.dataset, Stateful)):
            raise ConfigurationError(
                "the state of the data set lies in worker processes, which keep it to themselves",
                found=f"num_workers={self.num_workers}",
                fix="pass num_workers=0, or a data set without a state",
            )

    def _why_not_rust(self) -> str | None:
        if self.batch_sampler is None:
            return "batch_size is None, so examples come one by one"
        # A subclass may change what it is given before it calls ours.
        if type(self.collate_fn) not in COLLATORS:
            name = getattr(self.collate_fn, "__name__", type(self.collate_fn).__name__)
            return f"collate_fn is {name}, not a collator of fastft"
        view = self.view
        if view.root is None:
            return view.reason
        if view.is_copy and self.multiprocessing_context is not None:
            return "multiprocessing_context is given, and processes read the dataset as it is"
        return cast("RustCollator", self.collate_fn).why_not_rust(view.root)


class _Indices:
    """What torch's iterators ask for indices: the sampler of a loader, and where it stands."""

    def __init__(self, loader: DataLoader[Any], sampler: Any) -> None:
        self._loader = loader
        self._sampler = sampler

    def __iter__(self) -> Iterator[Any]:
        return self._loader.begin_epoch(self._sampler)

    def __len__(self) -> int:
        return len(self._sampler)
