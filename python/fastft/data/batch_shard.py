"""The batches of one rank: every W-th of a plan that all ranks make alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fastft.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastft.data.batch_plan import BatchPlan
    from fastft.data.batch_sampler import BatchSampler


class BatchShard(torch.utils.data.Sampler[list[int]]):
    """Gives batches `index`, `index + num_shards`, ... of a batch sampler: see its `shard`.

    Args:
        whole: The batch sampler, made alike on every rank.
        num_shards: W, how many ranks share its batches.
        index: Which of them this is, from 0.

    Attributes:
        batch_size: None, which tells accelerate that batches differ in size.

    Raises:
        ConfigurationError: There is no such shard, or a step cannot be shared by so many.
    """

    batch_size = None
    drop_last = False

    def __init__(self, whole: BatchSampler, num_shards: int, index: int) -> None:
        _check_shard(num_shards, index, whole.settings.micro_batches_per_step)
        self.whole = whole
        self.num_shards = num_shards
        self.index = index

    @property
    def epoch(self) -> int:
        """The epoch whose batches come next."""
        return self.whole.epoch

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose batches come next."""
        self.whole.set_epoch(epoch)

    def fingerprint(self) -> str:
        """Gives that of the whole: a state fits any number of ranks."""
        return self.whole.fingerprint()

    def plan(self, epoch: int | None = None) -> BatchPlan:
        """Gives the batches of all ranks, their number a multiple of the number of ranks."""
        plan = self.whole.plan(epoch)
        return plan.filled(-(-len(plan) // self.num_shards) * self.num_shards)

    def __iter__(self) -> Iterator[list[int]]:
        plan = self.plan()
        return (plan[position] for position in range(self.index, len(plan), self.num_shards))

    def __len__(self) -> int:
        return -(-len(self.whole) // self.num_shards)

    def __repr__(self) -> str:
        return f"shard {self.index} of {self.num_shards} of {self.whole!r}"


def _check_shard(num_shards: int, index: int, num_micro_batches: int) -> None:
    if num_shards < 1 or not 0 <= index < num_shards:
        raise ConfigurationError(
            "there is no such shard",
            found=f"num_shards={num_shards}, index={index}",
            expected="num_shards of at least 1, and an index from 0 to num_shards - 1",
        )
    if num_micro_batches > 1 and num_micro_batches % num_shards:
        raise ConfigurationError(
            f"a step of {num_micro_batches} micro-batches cannot be shared by {num_shards} ranks",
            place="num_shards",
            found=str(num_shards),
            expected=" or ".join(map(str, divisors(num_micro_batches))),
            fix=f"micro_batches_per_step={num_shards}, or a multiple of it",
        )


def divisors(number: int) -> list[int]:
    """Gives the numbers of ranks that can share a step of so many micro-batches.

    Example:
        >>> divisors(6)
        [1, 2, 3, 6]
    """
    return [n for n in range(1, number + 1) if number % n == 0]
