"""torch's own iterators over a loader, which also know where they stand.

What they do is torch's code, unchanged; they count the batches that were handed out, and when a
state is given they begin behind it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from torch.utils.data.dataloader import (
    _BaseDataLoaderIter,
    _DatasetKind,
    _MultiProcessingDataLoaderIter,
    _SingleProcessDataLoaderIter,
)

from fastft.data.loader_state import dataset_state
from fastft.data.sampler_state import Stateful

if TYPE_CHECKING:
    from fastft.data.dataloader import DataLoader
    from fastft.data.loader_state import Progress


class CountingIterator(_BaseDataLoaderIter):
    """Counts the batches that it hands out.

    The count lies in an object of the loader, so that it outlives the iterator.
    """

    _progress: Progress

    def __init__(self, loader: DataLoader[Any]) -> None:
        super().__init__(loader)
        self._progress = cast("Progress", loader.progress)

    def _reset(self, loader: DataLoader[Any], first_iter: bool = False) -> None:
        super()._reset(loader, first_iter)
        self._progress = cast("Progress", loader.progress)

    def __next__(self) -> Any:
        try:
            batch = super().__next__()
        except StopIteration:
            self._progress.finish()
            raise
        self._progress.advance()
        return batch


class SingleProcessIterator(CountingIterator, _SingleProcessDataLoaderIter):
    """Makes each batch when it is asked for."""

    def __init__(self, loader: DataLoader[Any], resumed: dict[str, Any]) -> None:
        is_iterable = loader._dataset_kind == _DatasetKind.Iterable
        if is_iterable and "dataset" in resumed:  # before it is asked for an iterator
            cast(Stateful, loader.dataset).load_state_dict(resumed["dataset"])
        super().__init__(loader)
        self._progress.dataset_state = partial(
            dataset_state, self._dataset, self._dataset_fetcher, is_iterable=is_iterable
        )
        if not resumed:
            return
        if is_iterable:
            self._go_on(resumed)
            return
        self._progress.indices.start()
        if "dataset" in resumed:
            cast(Stateful, loader.dataset).load_state_dict(resumed["dataset"])

    def _go_on(self, resumed: dict[str, Any]) -> None:
        """Continues an iterable data set: by its own state, or by reading up to the place."""
        iterator = self._dataset_fetcher.dataset_iter
        if "dataset_iterator" in resumed:
            iterator.load_state_dict(resumed["dataset_iterator"])
        elif not isinstance(self._dataset, Stateful):
            for _ in range(resumed["num_yielded"]):
                self._next_data()  # type: ignore[no-untyped-call]
        self._dataset_fetcher.ended = resumed["dataset_ended"]
        self._num_yielded = resumed["num_yielded"]


class MultiProcessIterator(CountingIterator, _MultiProcessingDataLoaderIter):
    """Has each batch made by a process of torch's."""
