"""The order in which a loader goes through its samples: how it is written down and found again.

What determines the order depends on the sampler. Ours is a plan of an epoch. The random order of
torch comes from a seed that is drawn first, and the seed says everything. A sampler with a
`state_dict` speaks for itself. Any other is asked again from the state of the random number
generator that it began with, and what was seen before is passed over.

Invariant: going on draws nothing from torch's global generator that the uninterrupted epoch did not
draw: it is left as it was found.
"""

from __future__ import annotations

import base64
import itertools
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch.utils.data import BatchSampler as TorchBatchSampler
from torch.utils.data import RandomSampler

from fastft.data.batch_sampler import BatchSampler
from fastft.data.batch_shard import BatchShard
from fastft.data.plan_order import PlanOrder, behind_the_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Result = TypeVar("Result")


@runtime_checkable
class Stateful(Protocol):
    """What can write down where it stands, as torchdata calls it."""

    def state_dict(self) -> dict[str, Any]:
        """Gives the state."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a state."""


class SamplerIterator:
    """The indices of one epoch, from its beginning or from where a state says.

    Args:
        sampler: What a loader asks for indices: a batch sampler, or a sampler of single ones.
        state: What `state` gave in another process; None begins an epoch.
        num_yielded: How many batches were seen before.
        found: The state in which torch's global generator is to be left, where a state is given.
        as_arrays: Whether whoever takes the indices of a batch takes int64 (B,) for a list.
    """

    def __init__(
        self,
        sampler: Iterable[Any],
        state: dict[str, Any] | None = None,
        num_yielded: int = 0,
        found: torch.Tensor | None = None,
        *,
        as_arrays: bool = False,
    ) -> None:
        self._found = found
        self._num_yielded = num_yielded
        self._order = _order(sampler, state, as_arrays=as_arrays)
        self._is_started = False
        self._pulled: deque[dict[str, Any]] = deque()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self.start()
        indices = next(self._order.indices)
        self._note()
        return indices

    def start(self) -> None:
        """Finds the place to go on from, which the first index would do otherwise."""
        if self._is_started:
            return
        self._is_started = True
        self._order.start(self._num_yielded)
        self._note()
        if (
            self._found is not None
        ):  # undoes what was drawn since for an epoch that had begun long ago
            torch.set_rng_state(self._found)

    def _note(self) -> None:
        # A sampler with a state is ahead of the batches when these are made ahead of time.
        if isinstance(self._order, _Asked) and self._order.is_stateful:
            self._pulled.append(self._order.state())

    def advance(self) -> None:
        """Notes that the batch of the oldest indices was handed out."""
        if self._pulled:
            self._pulled.popleft()

    def finish(self) -> None:
        """Notes that the batches of all indices were handed out."""
        self._pulled.clear()

    def exhaust(self) -> None:
        """Goes to the end of the epoch, where a sampler may draw once more."""
        self.start()
        for _ in self._order.indices:
            pass

    def state(self) -> dict[str, Any]:
        """Gives what another process needs to go on behind the last batch that was handed out."""
        self.start()
        return self._pulled[0] if self._pulled else self._order.state()


class _Order(Protocol):
    indices: Iterator[Any]

    def start(self, num_yielded: int) -> None: ...
    def state(self) -> dict[str, Any]: ...


def _order(sampler: Iterable[Any], state: dict[str, Any] | None, *, as_arrays: bool) -> _Order:
    """Gives the way to the indices of `sampler`; a state was made by the same way."""
    inner = sampler.sampler if type(sampler) is TorchBatchSampler else sampler
    if isinstance(sampler, BatchSampler | BatchShard):
        return PlanOrder(sampler, state, as_arrays=as_arrays)
    if type(inner) is RandomSampler and inner.generator is None:
        return _Seeded(sampler, inner, state, as_arrays=as_arrays)
    return _Asked(sampler, inner, state)


class _Seeded:
    """The random order of torch, which a seed drawn at the beginning of the epoch determines."""

    def __init__(
        self, sampler: Any, inner: RandomSampler, state: dict[str, Any] | None, *, as_arrays: bool
    ) -> None:
        self._sampler = sampler
        self._inner = inner
        self._as_arrays = as_arrays
        self._seed: int | None = None if state is None else state["seed"]
        self.indices: Iterator[Any] = iter(())

    def start(self, num_yielded: int) -> None:
        if self._seed is None:  # drawn here as the sampler would draw it now
            self._seed = int(torch.empty((), dtype=torch.int64).random_().item())
        inner, sampler = self._inner, self._sampler
        generator = torch.Generator().manual_seed(self._seed)
        is_permutation = not inner.replacement and inner._num_samples is None
        if is_permutation and sampler is not inner:
            self.indices = self._batches(num_yielded, generator)
            return
        seeded = RandomSampler(inner.data_source, inner.replacement, inner._num_samples, generator)
        self.indices = iter(seeded)
        if sampler is not inner:
            self.indices = iter(TorchBatchSampler(seeded, sampler.batch_size, sampler.drop_last))
        _pass_over(self.indices, num_yielded)

    def _batches(self, num_yielded: int, generator: torch.Generator) -> Iterator[Any]:
        """The batches of torch's samplers, cut from the permutation that they draw."""
        size, drop_last = self._sampler.batch_size, self._sampler.drop_last
        num_rows = len(self._inner.data_source)
        order = torch.randperm(num_rows, generator=generator).numpy()
        num_batches = num_rows // size if drop_last else -(-num_rows // size)
        if num_yielded > num_batches:
            raise behind_the_end(num_batches, num_yielded)
        for start in range(num_yielded * size, num_batches * size, size):
            rows = order[start : start + size]
            yield rows if self._as_arrays else rows.tolist()

    def state(self) -> dict[str, Any]:
        return {"seed": self._seed}


class _Asked:
    """Any other sampler.

    One with a `state_dict`, or whose iterator has one, is given its state again. Another is asked
    again with the random numbers that it had, and what was seen before is passed over.
    """

    def __init__(self, sampler: Any, inner: Any, state: dict[str, Any] | None) -> None:
        self._sampler = sampler
        self._inner = inner
        self._given = state or {}
        self._begun: dict[str, Any] = {}
        self._generator = _generator_of(sampler)
        if "sampler" in self._given:
            inner.load_state_dict(self._given["sampler"])
        self._has_ended = bool(self._given.get("has_ended"))
        self._iterator: Any = None
        if inner is sampler:  # torch's batch sampler asks the inner one only at its first batch
            self._iterator = self._with_numbers_of("before_iter", lambda: iter(inner))
        self.indices: Iterator[Any] = iter(())

    def start(self, num_yielded: int) -> None:
        def begin() -> None:
            if self._iterator is None:
                self._iterator = iter(self._inner)
            self.indices = self._iterator
            if self._inner is not self._sampler:
                self.indices = self._batches(self._sampler.batch_size, self._sampler.drop_last)
            if "iterator" in self._given:
                self._iterator.load_state_dict(self._given["iterator"])
            elif not self.is_stateful:
                _pass_over(self.indices, num_yielded)
                if self._given:  # a sampler draws at its first index: now, and not later
                    self.indices = itertools.chain(
                        list(itertools.islice(self.indices, 1)), self.indices
                    )

        self._with_numbers_of("before_next", begin)

    @property
    def is_stateful(self) -> bool:
        return isinstance(self._inner, Stateful) or isinstance(self._iterator, Stateful)

    def state(self) -> dict[str, Any]:
        parts = {"sampler": self._inner, "iterator": self._iterator}
        states = {
            name: part.state_dict() for name, part in parts.items() if isinstance(part, Stateful)
        }
        return {**states, "has_ended": self._has_ended} if states else self._begun

    def _batches(self, batch_size: int, drop_last: bool) -> Iterator[list[Any]]:
        """Does what torch's `BatchSampler` does, over an iterator whose state can be asked for."""
        while not self._has_ended:
            batch = list(itertools.islice(self._iterator, batch_size))
            # A sampler that has come to its end may already stand at the next beginning.
            self._has_ended = len(batch) < batch_size
            if batch and not (self._has_ended and drop_last):
                yield batch

    def _with_numbers_of(self, moment: str, action: Callable[[], Result]) -> Result:
        """Does something that may draw, from where the generator was when it was first done."""
        if moment in self._given:
            set_random_state(self._given[moment], self._generator)
        self._begun[moment] = random_state(self._generator)
        return action()


def random_state(generator: torch.Generator | None) -> str:
    """Writes down where a generator stands; None is torch's global one."""
    values = torch.get_rng_state() if generator is None else generator.get_state()
    return base64.b64encode(values.numpy().tobytes()).decode()


def set_random_state(text: str, generator: torch.Generator | None) -> None:
    """Puts a generator where it stood when `random_state` wrote it down."""
    values = torch.from_numpy(np.frombuffer(base64.b64decode(text), np.uint8).copy())
    if generator is None:
        torch.set_rng_state(values)
    else:
        generator.set_state(values)


def _generator_of(sampler: Any) -> torch.Generator | None:
    for candidate in (sampler, getattr(sampler, "sampler", None)):
        generator = getattr(candidate, "generator", None)
        if isinstance(generator, torch.Generator):
            return generator
    return None


def _pass_over(indices: Iterator[Any], number: int) -> None:
    passed = sum(1 for _ in itertools.islice(indices, number))
    if passed < number:
        raise behind_the_end(passed, number)
