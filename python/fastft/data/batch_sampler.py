"""Which examples make which batch: a plan that can be printed, a pure function of (seed, epoch).

Policies: `random` draws the very batches of the stock Trainer (accelerate's `SeedableRandomSampler`
under torch's `BatchSampler`), `sequential` keeps the order of the dataset; `bucketed`, `tokens` and
`packed` put examples together by length and shuffle the batches. All permutations come from torch's
own generator; the Rust core checks them and cuts.

Invariant: the same sampler gives the same batches however often it is iterated; only `set_epoch`
moves on. (accelerate's sampler moves on by itself after each pass.)
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastft import _fastft
from fastft.data.batch_plan import BatchPlan, RepeatedBatch
from fastft.data.batch_settings import POLICIES, WINDOW, BatchSettings
from fastft.data.batch_shard import BatchShard
from fastft.data.lengths import checked_lengths, lengths_digest, too_long

if TYPE_CHECKING:
    from collections.abc import Iterator, Sized

    from numpy.typing import NDArray

__all__ = ["POLICIES", "BatchPlan", "BatchSampler", "RepeatedBatch"]

LARGEST = 2**63 - 1
"""Rust takes no greater number; it is more than any dataset has."""


class BatchSampler(torch.utils.data.Sampler[list[int]]):
    """Gives the batches of an epoch as lists of example indices.

    | policy | batches |
    |---|---|
    | `random` | of `batch_size`, as the stock Trainer draws them |
    | `sequential` | of `batch_size`, in the order of the dataset |
    | `bucketed` | of `batch_size`, of like lengths |
    | `tokens` | of at most `max_tokens` with padding (rows times longest), of like lengths |
    | `packed` | of at most `max_tokens` without padding, for a collator that flattens |

    `bucketed` and `tokens` shuffle the examples, sort windows of them by length, cut, and shuffle
    the batches. It goes into any `DataLoader` as `batch_sampler=`.

    Args:
        lengths_or_dataset: The dataset, or the lengths of its examples. The last three policies
            need a `TokenDataset` or lengths.
        policy: One of the above.
        batch_size: Examples in a batch, for `random`, `sequential` and `bucketed`.
        max_tokens: Tokens in a batch, for `tokens` and `packed`.
        window: Examples that are sorted together; a larger window pads less and shuffles less.
        overlong: What becomes of an example with more than `max_tokens`: "error" or "drop".
        micro_batches_per_step: Micro-batches of an optimizer step on all ranks together. Above 1,
            their number becomes a multiple of it, and those of a step are sorted, the dear ones
            first: ranks that take the r-th, the (r + W)-th ... of a step work about the same.
        tail: What becomes of batches that do not fill a last step: "drop" leaves them out, "pad"
            repeats earlier ones, each as a `RepeatedBatch`, which must have no weight.
        seed: Where the random order starts from; the epoch is added to it.
        drop_last: Whether a shorter last batch is left out.

    Attributes:
        batch_size: As given for `random` and `sequential`, else None, which tells accelerate that
            batches differ in size and that no rows are missing from the last one.
        num_batches: What `steady` settled; None where every epoch has as many as its plan.

    Raises:
        ConfigurationError: A policy that does not exist, a setting that it does not take, or an
            example that is too long.
        DataError: A policy needs lengths, and these are none.

    Example:
        >>> sampler = BatchSampler(range(5), "sequential", batch_size=2)
        >>> list(sampler), len(sampler)
        ([[0, 1], [2, 3], [4]], 3)
        >>> BatchSampler([9, 2, 3, 4], "tokens", max_tokens=9).plan()
        BatchPlan: 4 examples in 3 batches of 1 to 2, 5.26 % padding, budget 70.37 % filled
          0: [1, 2]
          1: [0]
          2: [3]
    """

    def __init__(
        self,
        lengths_or_dataset: Sized,
        policy: str = "random",
        *,
        batch_size: int | None = None,
        max_tokens: int | None = None,
        window: int = WINDOW,
        overlong: str = "error",
        micro_batches_per_step: int = 1,
        tail: str = "drop",
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        self.settings = BatchSettings(
            policy,
            batch_size,
            max_tokens,
            window,
            overlong,
            micro_batches_per_step,
            tail,
            drop_last,
        )
        self.policy = policy
        self.batch_size = None if self.settings.by_length else batch_size
        self.num_batches: int | None = None
        self.max_tokens = max_tokens
        self.drop_last = drop_last
        self.seed = seed
        self.epoch = 0
        self._lengths = checked_lengths(lengths_or_dataset) if self.settings.by_length else None
        self._source = lengths_or_dataset if self.settings.by_length else None
        self.num_examples = len(lengths_or_dataset)
        self._fingerprint: tuple[int, str] | None = None
        self._cached: tuple[int, int, BatchPlan] | None = None
        if self._lengths is not None and max_tokens is not None and overlong == "error":
            _check_budget(self._lengths, max_tokens)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose batches come next; the same epoch gives the same batches."""
        self.epoch = epoch

    def plan(self, epoch: int | None = None) -> BatchPlan:
        """Gives the batches of an epoch (the present one by default), without moving on.

        A plan by length is kept as long as its epoch is the present one.
        """
        epoch = self.epoch if epoch is None else epoch
        if self._lengths is None:
            return self._cut_order(epoch)
        if self._cached is None or self._cached[:2] != (epoch, self.seed):
            plan = self._cut_by_length(epoch, self._lengths)
            if self.num_batches is not None:
                plan = plan.filled(self.num_batches)
            if epoch != self.epoch:
                return plan
            self._cached = (epoch, self.seed, plan)
        return self._cached[2]

    def steady(self, num_epochs: int) -> BatchSampler:
        """Gives every epoch as many batches as the longest of the first `num_epochs` has.

        The number of batches by a budget differs a little from epoch to epoch, and a trainer counts
        the steps of a run by the first. Shorter epochs are filled up with `RepeatedBatch`es.

        Returns:
            The sampler itself.
        """
        if self._lengths is not None and self.settings.max_tokens is not None:
            self.num_batches = None
            self._cached = None
            lengths = [len(self.plan(epoch)) for epoch in range(max(1, num_epochs))]
            self.num_batches = max(lengths)
            self._cached = None
        return self

    def shard(self, num_shards: int, index: int) -> BatchShard:
        """Gives the batches of one rank, for a loop without accelerate.

        Every rank makes the sampler alike and takes its shard. All have as many batches: those that
        are missing are earlier ones, each a `RepeatedBatch`.

        Args:
            num_shards: How many ranks there are. With `micro_batches_per_step` above 1 it has to
                divide that, so that a step has the same batches on any number of ranks.
            index: The rank, from 0.

        Raises:
            ConfigurationError: There is no such shard, or a step cannot be shared by so many.

        Example:
            >>> sampler = BatchSampler(range(5), "sequential", batch_size=2)
            >>> [list(sampler.shard(2, rank)) for rank in range(2)]
            [[[0, 1], [4]], [[2, 3], [0, 1]]]
        """
        return BatchShard(self, num_shards, index)

    def fingerprint(self) -> str:
        """Gives a short hash of what plans depend on, the epoch aside.

        Two samplers with the same fingerprint give the same batches in every epoch.

        Example:
            >>> len(BatchSampler(range(5), "sequential", batch_size=2).fingerprint())
            16
        """
        if self._fingerprint is not None and self._fingerprint[0] == self.seed:
            return self._fingerprint[1]
        known = {"num_examples": self.num_examples, "seed": self.seed, **asdict(self.settings)}
        digest = hashlib.blake2b(json.dumps(known, default=int).encode(), digest_size=8)
        if self._lengths is not None:
            # A dataset hashes its lengths once for all.
            known_digest = getattr(self._source, "lengths_digest", None)
            digest.update(known_digest or lengths_digest(self._lengths))
        self._fingerprint = (self.seed, digest.hexdigest())
        return self._fingerprint[1]

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.plan())

    def __len__(self) -> int:
        if self.settings.batch_size is None:
            return self.num_batches or len(self.plan())
        full, rest = divmod(self.num_examples, int(self.settings.batch_size))
        batches = full + int(rest > 0 and not self.drop_last)
        step = int(self.settings.micro_batches_per_step)
        return (batches + step - 1 if self.settings.tail == "pad" else batches) // step * step

    def __repr__(self) -> str:
        settings = asdict(self.settings)
        if not self.settings.by_length:
            names = ("policy", "batch_size", "drop_last")
            settings = {name: settings[name] for name in names}
        settings |= {"seed": self.seed, "epoch": self.epoch}
        given = {name: value for name, value in settings.items() if value is not None}
        text = ", ".join(f"{name}={value!r}" for name, value in given.items())
        return f"BatchSampler({self.num_examples} examples, {text})"

    def __getstate__(self) -> dict[str, Any]:
        # A plan is made again faster than it is read.
        return {**self.__dict__, "_cached": None, "_source": None}

    def _cut_order(self, epoch: int) -> BatchPlan:
        if self.policy == "sequential":
            order = np.arange(self.num_examples, dtype=np.int64)
        else:
            order = self._permutation(self._generator(epoch), self.num_examples)
        indices, batch_offsets = _fastft.cut_batches(
            order,
            num_examples=self.num_examples,
            batch_size=self.settings.batch_size,
            drop_last=self.settings.drop_last,
        )
        return BatchPlan(indices, batch_offsets, num_dropped=self.num_examples - len(indices))

    def _cut_by_length(self, epoch: int, lengths: NDArray[np.uint32]) -> BatchPlan:
        generator = self._generator(epoch)
        batches = self._batches(self._permutation(generator, len(lengths)), lengths)
        indices, batch_offsets, repeated, num_tokens, num_padded_tokens = batches.arranged(
            self._permutation(generator, batches.num_movable),
            micro_batches_per_step=self.settings.micro_batches_per_step,
            pad_tail=self.settings.tail == "pad",
        )
        for array in (indices, batch_offsets, repeated):
            array.flags.writeable = False  # the plan is kept
        num_kept = int(np.diff(batch_offsets)[~repeated].sum())
        return BatchPlan(
            indices,
            batch_offsets,
            repeated if repeated.any() else None,
            num_dropped=len(lengths) - num_kept,
            num_tokens=num_tokens,
            num_padded_tokens=num_padded_tokens,
            max_tokens=self.max_tokens,
        )

    def _batches(self, order: NDArray[np.int64], lengths: NDArray[np.uint32]) -> _fastft.Batches:
        settings = self.settings
        if self.policy == "bucketed":
            return _fastft.Batches.bucketed(
                order,
                lengths,
                window=min(settings.window, LARGEST),
                batch_size=min(settings.batch_size, LARGEST),
                drop_last=settings.drop_last,
            )
        budget: dict[str, Any] = {
            "max_tokens": min(settings.max_tokens, LARGEST),
            "drop_overlong": settings.overlong == "drop",
        }
        if self.policy == "packed":
            return _fastft.Batches.packed(order, lengths, **budget)
        return _fastft.Batches.within_tokens(
            order, lengths, window=min(settings.window, LARGEST), **budget
        )

    def _generator(self, epoch: int) -> torch.Generator:
        generator = torch.Generator()
        generator.manual_seed(self.seed + epoch)
        return generator

    @staticmethod
    def _permutation(generator: torch.Generator, count: int) -> NDArray[np.int64]:
        order: NDArray[np.int64] = torch.randperm(count, generator=generator).numpy()
        return order


def _check_budget(lengths: NDArray[np.uint32], max_tokens: int) -> None:
    if lengths.max(initial=0) > max_tokens:
        fitted = "dataset = dataset.fit(max_tokens, overlong='truncate' or 'split')"
        raise too_long(lengths, max_tokens, "max_tokens", f"{fitted}, or overlong='drop'")
