"""Batches made in Rust: one by one as they are asked for, or ahead of time by threads of the core.

There is no process, and the threads never hold the GIL. The indices are drawn here, in the order of
torch's own iterators; the threads gather and pad. What they do not know (a batch that the stock
collator treats in its own way, a dataset whose file turns out to be damaged, a tokenizer that was
changed) is made here, when its turn has come.

Invariant: the batches are those that the collator would make one by one, in the same order, and an
error comes where it would have come.
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from torch._C._autograd import _profiler_enabled
from torch.utils.data._utils.pin_memory import pin_memory

from fastft import _fastft
from fastft.data.batch_reference import BatchReference
from fastft.data.loader_iterators import CountingIterator
from fastft.errors import DamagedFileError

if TYPE_CHECKING:
    from fastft.data.dataloader import DataLoader
    from fastft.data.rust_collator import RustCollator

PREFETCH_FACTOR = 2
"""Batches ahead of the training for each thread, where the loader does not say: torch's number."""


class RustIterator(CountingIterator):
    """Makes each batch when it is asked for, without what torch does around every batch.

    That is a range for the profiler, which takes as long as a third of a batch; it is there while a
    profiler runs.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        super().__init__(loader)
        self._dataset = loader.view.dataset
        if loader.is_resumed:
            self._progress.indices.start()

    def _reset(self, loader: DataLoader[Any], first_iter: bool = False) -> None:
        super()._reset(loader, first_iter)
        self._dataset = loader.view.dataset

    def __next__(self) -> Any:
        if _profiler_enabled():
            return super().__next__()
        try:
            batch = self._next_data()
        except StopIteration:
            self._progress.finish()
            raise
        self._num_yielded += 1
        self._progress.advance()
        return batch

    def _next_data(self) -> Any:
        dataset: Any = self._dataset
        return self._pinned(self._collate_fn(dataset.__getitems__(next(self._sampler_iter))))

    def _pinned(self, batch: Any) -> Any:
        if not self._pin_memory:
            return batch
        return pin_memory(batch, self._pin_memory_device)  # type: ignore[no-untyped-call]


class ThreadedIterator(RustIterator):
    """Hands out batches that threads have made meanwhile.

    Args:
        loader: Its `num_workers` is the number of threads; its collator is one of ours.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        super().__init__(loader)
        self._collator = cast("RustCollator", loader.collate_fn)
        dataset = loader.view.root
        assert dataset is not None, "why_not_rust has looked"
        self._token_dataset = dataset
        self._recipe = cast(_fastft.Recipe, self._collator.recipe(dataset))
        self._threads: _fastft.DataLoader | None = _fastft.DataLoader(
            dataset.rust, self._recipe, num_threads=loader.num_workers
        )
        self._process = os.getpid()
        self._depth = loader.num_workers * (loader.prefetch_factor or PREFETCH_FACTOR)
        self._ahead: deque[tuple[Any, bool]] = deque()
        """Rows or errors in their order, and whether the threads have them."""
        self._is_drawn = False

    def _next_data(self) -> Any:
        while len(self._ahead) < self._depth and not self._is_drawn:
            self._ahead.append(self._drawn())
        if not self._ahead:  # the end was told before
            raise StopIteration
        rows, is_in_work = self._ahead.popleft()
        if isinstance(rows, Exception):
            try:
                raise rows
            finally:
                del rows  # it knows this frame: together they would keep the threads alive
        batch = self._taken(rows) if is_in_work else None
        return self._pinned(self._collate_fn(rows) if batch is None else batch)

    def _drawn(self) -> tuple[Any, bool]:
        """Draws the next rows and hands them to the threads, if they know how."""
        dataset: Any = self._dataset
        try:
            indices = self._next_index()  # type: ignore[no-untyped-call]
        except Exception as error:  # also the end of the epoch: it comes when it is its turn
            self._is_drawn = True
            return error, False
        try:
            rows = dataset.__getitems__(indices)
        except Exception as error:  # what comes behind it can still be had, as from torch
            return error, False
        if not self._is_known(rows):
            return rows, False
        assert self._threads is not None
        self._threads.put(rows.indices)
        return rows, True

    def _is_known(self, rows: Any) -> bool:
        if self._threads is None or os.getpid() != self._process:
            return False
        return (
            isinstance(rows, BatchReference)
            and rows.dataset is self._token_dataset
            and self._collator.recipe_of(rows) is self._recipe
        )

    def _taken(self, rows: BatchReference) -> Any | None:
        """Takes what the threads made of `rows`; None when it has to be made here."""
        if self._threads is None or os.getpid() != self._process:
            return None  # the threads stayed behind in the process that was forked
        try:
            arrays = self._threads.take(self._timeout or None)
        except DamagedFileError:
            self._threads = None  # the collator repairs the file, and knows where it lies then
            return None
        if arrays is None:
            raise RuntimeError(f"DataLoader timed out after {self._timeout} seconds")
        return self._collator.batch_of(arrays, rows, self._recipe)
