"""The order of a plan of our own, and how many batches of it were seen, on any number of ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastft.data.batch_shard import BatchShard
from fastft.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastft.data.batch_sampler import BatchSampler


class PlanOrder:
    """A plan of our own: the epoch says everything, and any batch is found at once.

    A state counts the batches of one rank, and says how many ranks there were.
    """

    def __init__(
        self, sampler: BatchSampler | BatchShard, state: dict[str, Any] | None, *, as_arrays: bool
    ) -> None:
        self.epoch = sampler.epoch
        self._num_shards, self._index = _place(sampler)
        self._as_arrays = as_arrays
        if state is not None and state["epoch"] != self.epoch:
            raise DataError(
                "the state belongs to another epoch than the one that begins",
                found=f"epoch {self.epoch}",
                expected=f"epoch {state['epoch']}, in which the state was saved",
                fix=f"call set_epoch({state['epoch']}) before the loop, or do not load the state",
            )
        self._plan = sampler.plan()
        self.indices: Iterator[Any] = iter(())

    def start(self, num_yielded: int) -> None:
        """Finds the place behind so many batches of this rank."""
        plan = self._plan
        first = num_yielded * self._num_shards
        if first > len(plan):
            raise behind_the_end(len(plan), first)
        batch: Callable[[int], Any] = plan.rows if self._as_arrays else plan.__getitem__
        self.indices = map(batch, range(first + self._index, len(plan), self._num_shards))

    def state(self) -> dict[str, Any]:
        """Gives what the order follows from."""
        return {"epoch": self.epoch, "num_shards": self._num_shards}


def batches_seen(num_yielded: int, state: dict[str, Any] | None, sampler: Any) -> int:
    """Gives how many batches of its own a rank has behind it, for a state of other ranks.

    Args:
        num_yielded: How many batches each rank had behind it.
        state: The state of the order; one of a plan says how many ranks there were.
        sampler: What this rank takes its batches from.

    Raises:
        DataError: This rank would stand between two of its batches.
    """
    before = (state or {}).get("num_shards", 1)
    now, _ = _place(sampler)
    seen, rest = divmod(num_yielded * before, now)
    if rest:
        raise DataError(
            "the state was saved where so many ranks cannot go on together",
            found=f"{num_yielded * before} batches on {before} ranks, and {now} ranks now",
            expected="a multiple of the number of ranks",
            fix="save at the end of a step; micro_batches_per_step says how many batches it has",
        )
    return int(seen)


def _place(sampler: Any) -> tuple[int, int]:
    """How many ranks share the batches, and which of them this is."""
    is_shard = isinstance(sampler, BatchShard)
    return (sampler.num_shards, sampler.index) if is_shard else (1, 0)


def behind_the_end(found: int, expected: int) -> DataError:
    """Says that a state counts more batches than there are."""
    return DataError(
        "the state was saved behind the end of this epoch",
        found=f"{found} batches",
        expected=f"at least {expected}",
        fix="load a state of the same data and batch size",
    )
