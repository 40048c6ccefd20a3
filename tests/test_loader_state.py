"""A loader goes on where it was stopped: same batches, same random draws, whatever the sampler."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.utils.data import (
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

import fastft
from fastft.data.batch_sampler import BatchSampler
from fastft.data.dataloader import DataLoader
from fastft.data.language_modeling_collator import DataCollatorForLanguageModeling
from fastft.data.token_dataset import TokenDataset
from tests.tiny import sentences, tiny_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HF = tiny_tokenizer()
ROWS = list(range(37))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


class EagerSampler(torch.utils.data.Sampler[int]):
    """Draws when it is asked for an iterator, not at the first index."""

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(37).tolist())

    def __len__(self) -> int:
        return 37


class CountingSampler(torch.utils.data.Sampler[int]):
    """A sampler with a state of its own."""

    def __init__(self) -> None:
        self.position = 0

    def __iter__(self) -> Iterator[int]:
        while self.position < 37:
            self.position += 1
            yield (self.position * 5) % 37
        self.position = 0

    def __len__(self) -> int:
        return 37

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state["position"]


def plain(**options: Any) -> Callable[[], Any]:
    return lambda: DataLoader(ROWS, 4, **options)  # type: ignore[arg-type]


def sampled(make: Callable[[], Any], **options: Any) -> Callable[[], Any]:
    return lambda: DataLoader(ROWS, 4, sampler=make(), **options)  # type: ignore[arg-type]


LOADERS: dict[str, Callable[[], Any]] = {
    "sequential": plain(),
    "shuffle": plain(shuffle=True),
    "shuffle, drop_last": plain(shuffle=True, drop_last=True),
    "shuffle, generator": lambda: DataLoader(ROWS, 4, shuffle=True, generator=generator()),  # type: ignore[arg-type]
    "replacement": sampled(lambda: RandomSampler(ROWS, replacement=True, num_samples=70)),
    "subset": sampled(lambda: SubsetRandomSampler(range(5, 33))),
    "weighted": sampled(lambda: WeightedRandomSampler([0.1] * 37, 40)),
    "eager": sampled(EagerSampler),
    "stateful": sampled(CountingSampler),
    "distributed": sampled(lambda: DistributedSampler(ROWS, num_replicas=2, rank=1)),  # type: ignore[arg-type]
    "one by one": lambda: DataLoader(ROWS, batch_size=None, shuffle=True),  # type: ignore[arg-type]
    "ours": lambda: DataLoader(ROWS, batch_sampler=BatchSampler(ROWS, batch_size=4, seed=5)),  # type: ignore[arg-type]
}


def lists(batches: Any) -> list[Any]:
    return [batch.tolist() if isinstance(batch, torch.Tensor) else batch for batch in batches]


@pytest.mark.floor
@pytest.mark.parametrize("name", LOADERS)
def test_the_rest_of_the_epoch_is_that_of_the_uninterrupted_one(name: str) -> None:
    make = LOADERS[name]
    torch.manual_seed(7)
    size = len(make())
    for stop in (0, 1, 2, size // 2, size - 1, size):
        loader = make()
        iterator = iter(loader)
        seen = [next(iterator) for _ in range(stop)]
        assert len(seen) == stop
        state = json.loads(json.dumps(loader.state_dict()))
        rest = lists(iterator)
        torch.manual_seed(stop + 100)  # another process stands somewhere else
        other = make()
        other.load_state_dict(state)
        assert other.state_dict() == state
        before = torch.get_rng_state()
        assert lists(other) == rest
        assert torch.equal(torch.get_rng_state(), before), "torch's generator was moved"


@pytest.mark.parametrize("name", LOADERS)
def test_a_stop_between_epochs_begins_the_next_one(name: str) -> None:
    loader = LOADERS[name]()
    lists(loader)
    state = json.loads(json.dumps(loader.state_dict()))
    assert state["finished"]
    torch.manual_seed(9)
    second = lists(loader)
    other = LOADERS[name]()
    other.load_state_dict(state)
    torch.manual_seed(9)
    assert lists(other) == second
    assert len(second) > 4


@pytest.mark.parametrize("name", LOADERS)
def test_the_order_and_the_draws_are_those_of_torch(name: str) -> None:
    """A swap of the class changes no result: not now, and nothing that is drawn later."""
    outcomes = []
    for stock in (False, True):
        torch.manual_seed(13)
        loader = LOADERS[name]()
        if stock:
            loader.__class__ = torch.utils.data.DataLoader
        outcomes.append([lists(loader), lists(loader), torch.rand(1).item()])
    assert outcomes[0] == outcomes[1]


def test_a_state_is_small_for_the_usual_orders() -> None:
    for name in ("sequential", "shuffle", "ours"):
        loader = LOADERS[name]()
        next(iter(loader))
        size = len(json.dumps(loader.state_dict()))
        assert size < 1000 or name == "sequential", f"{name}: {size}"


def test_processes_of_torch_go_on_as_well() -> None:
    loader = DataLoader(ROWS, 4, shuffle=True, generator=generator(), num_workers=1)  # type: ignore[arg-type]
    iterator = iter(loader)
    next(iterator), next(iterator)
    state = loader.state_dict()
    assert state["num_yielded"] == 2  # though more were made ahead
    rest = lists(iterator)
    other: Any = DataLoader(ROWS, 4, shuffle=True, generator=generator())  # type: ignore[arg-type]
    other.load_state_dict(state)
    assert lists(other) == rest


def test_masks_of_a_later_epoch_come_back() -> None:
    texts, _ = zip(*sentences(50), strict=True)
    dataset = TokenDataset.from_texts(texts, HF)

    def make() -> Any:
        collator = DataCollatorForLanguageModeling(HF, seed=1)
        sampler = BatchSampler(dataset, batch_size=8, seed=2)
        return DataLoader(dataset, batch_sampler=sampler, collate_fn=collator)

    loader = make()
    loader.set_epoch(3)
    iterator = iter(loader)
    for _ in range(3):
        next(iterator)
    state = loader.state_dict()
    rest = list(iterator)
    other = make()
    other.load_state_dict(state)
    for batch, expected in zip(other, rest, strict=True):
        for key in expected:
            assert torch.equal(batch[key], expected[key])


def test_a_loader_travels_though_an_epoch_has_begun() -> None:
    loader = DataLoader(ROWS, 4)  # type: ignore[arg-type]
    iterator = iter(loader)
    next(iterator)
    copy = pickle.loads(pickle.dumps(loader))
    assert lists(copy) == lists(loader)
    assert len(list(iterator)) == 9


class Numbers(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(20))


def test_an_iterable_without_a_state_is_read_up_to_the_place() -> None:
    loader = DataLoader(Numbers(), 3)
    iterator = iter(loader)
    next(iterator)
    state, rest = loader.state_dict(), lists(iterator)
    other = DataLoader(Numbers(), 3)
    other.load_state_dict(state)
    assert lists(other) == rest


def saved_state() -> dict[str, Any]:
    loader = LOADERS["ours"]()
    loader.set_epoch(2)
    next(iter(loader))
    state: dict[str, Any] = loader.state_dict()
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 0}, "no state of a loader of this version"),
        ({"fingerprint": {"dataset": "list, 36 rows"}}, "another dataset(.|\n)*37(.|\n)*36"),
        ({"num_yielded": 99}, None),
    ],
)
def test_a_state_that_does_not_belong_here_is_refused(
    change: dict[str, Any], message: str | None
) -> None:
    other = LOADERS["ours"]()
    state = {**saved_state(), **change}
    if message is None:
        other.load_state_dict(state)
        with pytest.raises(fastft.DataError, match="behind the end"):
            list(other)
        return
    with pytest.raises(fastft.DataError, match=message):
        other.load_state_dict(state)


def test_what_is_no_state_is_refused() -> None:
    for state in ({"epoch": 1}, [1], "state"):
        with pytest.raises(fastft.DataError, match="no state of a loader"):
            LOADERS["ours"]().load_state_dict(state)


def test_another_epoch_than_that_of_the_state_is_refused() -> None:
    other = LOADERS["ours"]()
    other.load_state_dict(saved_state())
    other.set_epoch(1)
    with pytest.raises(fastft.DataError, match=r"epoch 1(.|\n)*set_epoch\(2\)"):
        list(other)


def test_another_batch_size_is_refused() -> None:
    loader = plain(shuffle=True)()
    next(iter(loader))
    other: Any = DataLoader(ROWS, 5, shuffle=True)  # type: ignore[arg-type]
    with pytest.raises(fastft.DataError, match="another sampler"):
        other.load_state_dict(loader.state_dict())


def test_a_state_that_lies_in_other_processes_is_not_made_up() -> None:
    loader = DataLoader(Numbers(), 3, num_workers=1)
    with pytest.raises(fastft.ConfigurationError, match="num_workers=0"):
        loader.state_dict()
