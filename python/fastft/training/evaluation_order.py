"""The batches of an evaluation: rows of like length together, as many as the memory of one holds.

Neither the loss (the mean over labels) nor metrics (over all rows, in their order) depend on how
rows are put into batches, so an evaluation is free to choose. Rows are sorted by length, and a
batch takes as many as have the tokens of the largest batch that the stock order could have drawn.
Predictions are put back into the order of the rows before anybody sees them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from fastft.data.token_dataset import TokenDataset

    # The mixin stands before a stock Trainer and uses what is there.
    _StockTrainer = Any
else:
    _StockTrainer = object


class ByLength:
    """A batch sampler that goes through all rows once, the shortest first.

    Args:
        lengths: (R,): the tokens of each row.
        budget: The most tokens of a batch, padding included; one row may have more.

    Attributes:
        order: int64 (R,): the rows in the order in which they are drawn.

    Example:
        >>> list(ByLength(np.array([5, 2, 9, 3]), 9))
        [[1, 3], [0], [2]]
    """

    batch_size = None
    drop_last = False

    def __init__(self, lengths: NDArray[Any], budget: int) -> None:
        self.order: NDArray[np.int64] = np.argsort(lengths, kind="stable")
        self._ends = _ends(np.asarray(lengths, np.int64)[self.order], budget)

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in np.split(self.order, self._ends[:-1]):
            yield batch.tolist()


def _ends(lengths: NDArray[np.int64], budget: int) -> list[int]:
    """Gives the end of each batch of sorted rows."""
    ends, start = [], 0
    while start < len(lengths):
        # The tokens of a batch grow with every row more, so its end is found by halving.
        low, high = start + 1, len(lengths)
        while low < high:
            middle = (low + high + 1) // 2
            if (middle - start) * lengths[middle - 1] <= budget:
                low = middle
            else:
                high = middle - 1
        ends.append(low)
        start = low
    return ends


class EvaluationOrderMixin(_StockTrainer):  # type: ignore[misc]  # transformers carries no types
    """Evaluates a `TokenDataset` by length, where nobody can tell but by the time."""

    def evaluation_sampler(self, dataset: TokenDataset, batch_size: int) -> ByLength | None:
        """Gives the batches of an evaluation, None where rows keep their order.

        Args:
            dataset: The rows.
            batch_size: What the stock order would put into a batch.
        """
        if not len(dataset) or not self._may_sort():
            return None
        lengths = np.maximum(np.asarray(dataset.lengths, np.int64), 1)
        for column in dataset.columns.values():
            more = getattr(column, "lengths", None)
            if more is not None:
                lengths = np.maximum(lengths, np.asarray(more, np.int64))
        return ByLength(lengths, batch_size * int(lengths.max()))

    def _may_sort(self) -> bool:
        args = self.args
        return bool(
            args.world_size == 1
            and args.eval_do_concat_batches
            and not args.batch_eval_metrics
            and not args.include_for_metrics
            and not args.dataloader_drop_last
            and not getattr(args, "predict_with_generate", False)
            and self.compute_loss_func is None  # the stock rule averages over batches
        )

    def evaluation_loop(self, dataloader: Any, *args: Any, **kwargs: Any) -> Any:
        """Runs an evaluation; its predictions are in the order of the rows."""
        sampler = getattr(dataloader, "batch_sampler", None)
        if not isinstance(sampler, ByLength):
            return super().evaluation_loop(dataloader, *args, **kwargs)
        places = np.argsort(sampler.order)
        compute = self.compute_metrics
        if compute is not None:
            self.compute_metrics: Any = _InOrder(compute, places)
        try:
            output = super().evaluation_loop(dataloader, *args, **kwargs)
        finally:
            self.compute_metrics = compute
        return output._replace(
            predictions=_reordered(output.predictions, places),
            label_ids=_reordered(output.label_ids, places),
        )


class _InOrder:
    """Calls `compute_metrics` with predictions in the order of the rows.

    Args:
        compute: What the user passed.
        places: int64 (R,): where in the sorted predictions each row is.
    """

    def __init__(self, compute: Callable[[Any], Any], places: NDArray[np.int64]) -> None:
        self.compute = compute
        self.places = places

    def __call__(self, prediction: Any) -> Any:
        """Puts them in order; what is called is the user's own function."""
        prediction.predictions = _reordered(prediction.predictions, self.places)
        prediction.label_ids = _reordered(prediction.label_ids, self.places)
        prediction.elements = (prediction.predictions, prediction.label_ids)
        return self.compute(prediction)


def _reordered(values: Any, places: NDArray[np.int64]) -> Any:
    """Takes rows of an array, or of each in a nested tuple, list or dict of arrays."""
    if values is None:
        return None
    if isinstance(values, (tuple, list)):
        return type(values)(_reordered(one, places) for one in values)
    if isinstance(values, dict):
        return {name: _reordered(one, places) for name, one in values.items()}
    return values[places] if len(values) == len(places) else values
