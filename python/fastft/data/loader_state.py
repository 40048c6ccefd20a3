"""What a loader writes down to go on in another process, and what it refuses to go on from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fastft.data.sampler_state import Stateful
from fastft.data.token_dataset import TokenDataset
from fastft.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastft.data.dataloader import DataLoader
    from fastft.data.sampler_state import SamplerIterator

VERSION = 1

_KEYS = ("version", "fingerprint", "num_yielded", "finished", "order", "epochs")


class Progress:
    """Where one epoch of a loader stands.

    Args:
        indices: The indices of the epoch.
        epochs: The epochs of the parts of the loader when it began.
        num_yielded: How many batches of it were seen before.
    """

    def __init__(
        self, indices: SamplerIterator, epochs: dict[str, int], num_yielded: int = 0
    ) -> None:
        self.indices = indices
        self.num_yielded = num_yielded
        self.finished = False
        self.dataset_state: Callable[[], dict[str, Any]] = dict
        self._epochs = epochs

    def advance(self) -> None:
        """Notes that a batch was handed out."""
        self.num_yielded += 1
        self.indices.advance()

    def finish(self) -> None:
        """Notes that there is no further batch."""
        self.finished = True
        self.indices.finish()

    def state(self) -> dict[str, Any]:
        """Gives what `DataLoader.state_dict` gives, less the fingerprint."""
        return {
            "version": VERSION,
            "num_yielded": self.num_yielded,
            "finished": self.finished,
            "order": self.indices.state(),
            "epochs": self._epochs,
            **self.dataset_state(),
        }


def parts(loader: torch.utils.data.DataLoader[Any]) -> dict[str, Any]:
    """Gives the parts of a loader that may have an epoch."""
    inner = getattr(loader.batch_sampler, "sampler", None)
    return {
        "batch_sampler": loader.batch_sampler,
        "sampler": loader.sampler if inner is None else inner,
        "dataset": loader.dataset,
        "collate_fn": loader.collate_fn,
    }


def epochs(loader: torch.utils.data.DataLoader[Any]) -> dict[str, int]:
    """Gives the epochs of those parts that have one and can be told another."""
    return {
        name: part.epoch
        for name, part in parts(loader).items()
        if hasattr(part, "set_epoch") and isinstance(getattr(part, "epoch", None), int)
    }


def fingerprint(loader: DataLoader[Any]) -> dict[str, str]:
    """Says what the order of a loader depends on, but for its random numbers."""
    sampler = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
    described = getattr(sampler, "fingerprint", None)
    if described is None:
        inner = getattr(sampler, "sampler", sampler)
        sizes = {
            name: getattr(sampler, name)
            for name in ("batch_size", "drop_last")
            if hasattr(sampler, name)
        }
        text = f"{type(inner).__name__} {sizes}"
    else:
        text = f"{type(getattr(sampler, 'whole', sampler)).__name__} {described()}"
    return {"dataset": _described(loader.rows), "sampler": text}


def _described(dataset: Any) -> str:
    name = type(dataset).__name__
    if isinstance(dataset, TokenDataset):
        return f"{name}, {len(dataset)} rows, {dataset.fingerprint()}"
    if type(dataset) is torch.utils.data.Subset:
        return f"{len(dataset)} rows of {_described(dataset.dataset)}"
    if isinstance(dataset, torch.utils.data.IterableDataset) or not hasattr(dataset, "__len__"):
        return name
    return f"{name}, {len(dataset)} rows"


def checked_state(state: Any, loader: DataLoader[Any]) -> dict[str, Any]:
    """Gives a state that belongs to `loader`.

    Raises:
        DataError: It is none of ours, or belongs to other data or another order.
    """
    missing = [key for key in _KEYS if not isinstance(state, dict) or key not in state]
    if missing or state["version"] != VERSION:
        raise DataError(
            "this is no state of a loader of this version of fastft",
            found=f"no {missing[0]!r}" if missing else f"version {state['version']!r}",
            expected=f"what DataLoader.state_dict() gives, version {VERSION}",
            fix="begin the epoch anew, or use the fastft that saved the state",
        )
    for name, own in fingerprint(loader).items():
        saved = state["fingerprint"].get(name)
        if saved != own:
            raise DataError(
                f"the state belongs to another {name}",
                place="load_state_dict",
                found=own,
                expected=str(saved),
                fix=f"make the loader with the {name} that the state was saved with",
            )
    return dict(state)


def dataset_state(dataset: Any, fetcher: Any, *, is_iterable: bool) -> dict[str, Any]:
    """Gives the states of a data set and of the iterator over it, where they have any.

    Args:
        dataset: The data set.
        fetcher: torch's fetcher, which holds the iterator.
        is_iterable: Whether the data set gives its examples one after the other.
    """
    state: dict[str, Any] = {}
    iterator = None
    if is_iterable:
        iterator = fetcher.dataset_iter
        state["dataset_ended"] = fetcher.ended
    if isinstance(iterator, Stateful):
        state["dataset_iterator"] = iterator.state_dict()
    if isinstance(dataset, Stateful) and iterator is not dataset:
        state["dataset"] = dataset.state_dict()
    return state
