"""Which examples make which batch: a plan that can be printed, a pure function of (seed, epoch).

Policies: `random` draws the very batches of the stock Trainer (accelerate's `SeedableRandomSampler`
under torch's `BatchSampler`), `sequential` keeps the order of the dataset. The permutation comes
from torch's own generator; the Rust core checks it and cuts it.

Invariant: the same sampler gives the same batches however often it is iterated; only `set_epoch`
moves on. (accelerate's sampler moves on by itself after each pass.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch

from fastft import _fastft
from fastft.errors import ConfigurationError, nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

POLICIES = ("random", "sequential")


@dataclass(frozen=True, eq=False)
class BatchPlan(Sequence[list[int]]):
    """The batches of one epoch; `plan[i]` is the list of examples of batch `i`.

    Example:
        >>> BatchPlan(np.array([2, 0, 1]), np.array([0, 2, 3]))
        BatchPlan: 3 examples in 2 batches of 1 to 2
          0: [2, 0]
          1: [1]
    """

    indices: NDArray[np.int64]
    """int64 (N,): the examples of all batches, one batch after the other."""
    batch_offsets: NDArray[np.int64]
    """int64 (batches + 1,): where each batch begins."""

    def __len__(self) -> int:
        return len(self.batch_offsets) - 1

    @overload
    def __getitem__(self, index: int) -> list[int]: ...
    @overload
    def __getitem__(self, index: slice) -> list[list[int]]: ...
    def __getitem__(self, index: int | slice) -> list[int] | list[list[int]]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"batch {index} of a plan of {len(self)} batches")
        start, end = self.batch_offsets[position : position + 2]
        batch: list[int] = self.indices[start:end].tolist()
        return batch

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, BatchPlan)
            and np.array_equal(self.indices, other.indices)
            and np.array_equal(self.batch_offsets, other.batch_offsets)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        sizes = np.diff(self.batch_offsets)
        head = f"BatchPlan: {len(self.indices)} examples in {len(self)} batches"
        if not len(self):
            return head
        lines = [f"{head} of {sizes.min()} to {sizes.max()}"]
        lines += [f"  {position}: {self[position]}" for position in range(min(3, len(self)))]
        return "\n".join([*lines, "  ..."] if len(self) > 3 else lines)


class BatchSampler(torch.utils.data.Sampler[list[int]]):
    """Gives the batches of an epoch as lists of example indices.

    Args:
        lengths_or_dataset: The dataset, or the lengths of its examples.
        policy: `"random"` or `"sequential"`.
        batch_size: Examples in a batch.
        seed: Where the random order starts from; the epoch is added to it.
        drop_last: Whether a shorter last batch is left out.

    Raises:
        ConfigurationError: A policy that does not exist, or a batch size below 1.

    Example:
        >>> sampler = BatchSampler(range(5), "sequential", batch_size=2)
        >>> list(sampler), len(sampler)
        ([[0, 1], [2, 3], [4]], 3)
    """

    def __init__(
        self,
        lengths_or_dataset: Sized,
        policy: str = "random",
        *,
        batch_size: int,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if policy not in POLICIES:
            close = nearest(str(policy), POLICIES, count=1)
            raise ConfigurationError(
                "there is no such policy",
                place="policy",
                found=repr(policy),
                expected=" or ".join(map(repr, POLICIES)),
                fix=f"policy={close[0]!r}" if close else None,
            )
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ConfigurationError(
                "batch_size is not a number of at least 1", found=repr(batch_size)
            )
        self.num_examples = len(lengths_or_dataset)
        self.policy = policy
        self.batch_size = batch_size
        self.seed = seed
        self.drop_last = drop_last
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose batches come next; the same epoch gives the same batches."""
        self.epoch = epoch

    def plan(self, epoch: int | None = None) -> BatchPlan:
        """Gives the batches of an epoch (the present one by default), without moving on."""
        order = self._order(self.epoch if epoch is None else epoch)
        indices, batch_offsets = _fastft.cut_batches(
            order,
            num_examples=self.num_examples,
            batch_size=self.batch_size,
            drop_last=self.drop_last,
        )
        return BatchPlan(indices, batch_offsets)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.plan())

    def __len__(self) -> int:
        full, rest = divmod(self.num_examples, self.batch_size)
        return full + int(rest > 0 and not self.drop_last)

    def __repr__(self) -> str:
        settings: dict[str, Any] = {
            "policy": self.policy,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "epoch": self.epoch,
            "drop_last": self.drop_last,
        }
        text = ", ".join(f"{name}={value!r}" for name, value in settings.items())
        return f"BatchSampler({self.num_examples} examples, {text})"

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if self.policy == "sequential":
            return np.arange(self.num_examples, dtype=np.int64)
        generator = torch.Generator()
        generator.manual_seed(self.seed + epoch)
        order: NDArray[np.int64] = torch.randperm(self.num_examples, generator=generator).numpy()
        return order
