"""The states of the frozen layers for the rows of a data set: made once, in memory or on the disk.

On the disk they are found again by everything that they follow from: frozen weights, configuration,
tokens, padding, precision, versions. Of several processes on one machine one makes them and the
others wait for its lock; in memory the first one makes them and sends them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers

from fastft.data.ragged_column import RaggedColumn
from fastft.data.row_states import (
    DTYPES,
    InMemory,
    OnDisk,
    RowStates,
    fill_batches,
    fill_order,
    open_states,
    starts_of,
    states_in,
)
from fastft.data.token_cache import cache_root, open_or_build
from fastft.modeling.frozen_prefix.border import CannotSkipError
from fastft.modeling.frozen_prefix.stand_ins import STATES
from fastft.training.distributed import broadcast_arrays, is_main
from fastft.training.first_process import from_first_process
from fastft.training.frozen_settings import FILL_TOKENS, MOST_FILL_TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from fastft.data.token_dataset import TokenDataset
    from fastft.modeling.frozen_prefix.layout import Layout
    from fastft.modeling.frozen_prefix.prefix import Prefix

VERSION = 1


@dataclass(frozen=True)
class Filling:
    """How the states of a data set are made.

    Args:
        prefix: The prefix of the model.
        layout: What is kept of a row.
        dataset: The rows.
        collator: Makes the batches that the model sees.
        device: Where the model is.
        autocast: The precision that the model trains in.
        progress: Told how many rows are done.
    """

    prefix: Prefix
    layout: Layout
    dataset: TokenDataset
    collator: Any
    device: torch.device
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    progress: Callable[[int], None] = lambda done: None

    def lengths(self) -> dict[str, NDArray[np.int64]]:
        """int64 (rows,): how many states a row has, by the argument that carries them."""
        if self.layout.is_vector:
            return {STATES: np.ones(len(self.dataset), np.int64)}
        return {name: self._num_tokens(name) for name in self.prefix.names}

    def _num_tokens(self, name: str) -> NDArray[np.int64]:
        if self._is_of_labels(name):
            column = self.dataset.columns["labels"]
            if not isinstance(column, RaggedColumn):
                raise CannotSkipError("the labels are no sequences that a decoder reads")
            return column.lengths
        return self.dataset.lengths.astype(np.int64)

    def batch(self, rows: NDArray[np.int64]) -> tuple[Any, dict[str, torch.Tensor]]:
        """Makes a batch on the device, and says which of its tokens are real."""
        batch = self.collator(self.dataset.__getitems__(rows))
        masks = self.masks(batch, rows)
        moved = {
            name: value.to(self.device)
            for name, value in batch.items()
            if isinstance(value, torch.Tensor)
        }
        decoder = getattr(self.prefix.model, "prepare_decoder_input_ids_from_labels", None)
        if self.prefix.border.encoder and "decoder_input_ids" not in moved and decoder is not None:
            moved["decoder_input_ids"] = decoder(labels=moved["labels"])
        return moved, {name: mask.to(self.device) for name, mask in masks.items()}

    def masks(self, batch: Any, rows: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """Gives bool (B, T) by the argument that carries the states: the real tokens."""
        found = {}
        for name in self.prefix.names:
            if self._is_of_labels(name):
                lengths = torch.from_numpy(self._num_tokens(name)[rows])
                found[name] = torch.arange(batch["labels"].shape[1]) < lengths[:, None]
            elif "attention_mask" in batch:
                found[name] = batch["attention_mask"].bool()
            else:
                raise CannotSkipError("the batches have no attention mask")
        return found

    def _is_of_labels(self, name: str) -> bool:
        return name == STATES and self.prefix.border.encoder is not None

    def into(self, target: InMemory | OnDisk) -> None:
        """Runs all rows and hands what is kept to `target`."""
        done = 0
        max_tokens = FILL_TOKENS.get(self.device.type, MOST_FILL_TOKENS)
        for rows in fill_batches(self.dataset.lengths, max_tokens):
            inputs, masks = self.batch(rows)
            with self.autocast():
                states = self.prefix.run(inputs)
            for name, found in states.items():
                target.append(name, self.layout.kept(found, inputs, masks[name]))
            done += len(rows)
            self.progress(done)

    def row_states(
        self, arrays: Mapping[str, NDArray[Any]], dtypes: Mapping[str, str]
    ) -> dict[str, RowStates]:
        """Joins the states with where each row lies in them."""
        order = fill_order(self.dataset.lengths)
        return {
            name: RowStates(arrays[name], starts_of(order, lengths), lengths, DTYPES[dtypes[name]])
            for name, lengths in self.lengths().items()
        }


def states_in_memory(filling: Filling) -> dict[str, RowStates]:
    """Makes the states in the first process and gives them to all."""
    target = InMemory({name: int(one.sum()) for name, one in filling.lengths().items()})

    def fill() -> Any:
        filling.into(target)
        return target.dtypes

    dtypes = from_first_process(
        fill, filling.device, problem="the first process could not run the frozen layers"
    )
    arrays = broadcast_arrays(target.arrays if is_main() else None, filling.device)
    return filling.row_states(arrays, dtypes)


def states_on_disk(filling: Filling, precision: str) -> dict[str, RowStates]:
    """Maps the states from the cache, which holds them already or gets them now.

    Raises:
        OSError: The disk is full, or cannot be written to.
    """

    def build(folder: Path) -> list[str]:
        target = OnDisk(folder)
        try:
            filling.into(target)
            target.finish()
        finally:
            target.close()
        return []

    recipe = states_recipe(filling, precision)
    shards = open_or_build([], recipe, build, states_root(), open_states)
    return filling.row_states(*states_in(shards))


def states_root() -> Path:
    """The folder of the states, in the one of the cache."""
    return cache_root() / "frozen"


def free_disk() -> int:
    """Gives the bytes that are free where states are kept."""
    folder = states_root().absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def states_recipe(filling: Filling, precision: str) -> dict[str, Any]:
    """Puts everything together that the states follow from, as JSON."""
    model, collator = filling.prefix.model, filling.collator
    tokenizer = getattr(collator, "tokenizer", None)
    config = {
        name: value
        for name, value in model.config.to_dict().items()
        if name not in ("_name_or_path", "problem_type", "id2label", "label2id")
    }
    return {
        "frozen states": VERSION,
        "versions": [torch.__version__, transformers.__version__],
        "model": type(model).__name__,
        "config": json.dumps(config, sort_keys=True, default=str),
        "attention": str(model.config._attn_implementation),
        "border": filling.prefix.border.describe(),
        "weights": _digest(_frozen_weights(model)),
        "tokens": _digest(filling.dataset.arrays()),
        "kept": [filling.layout.position, filling.layout.pad_token_id],
        "padding": [
            type(collator).__name__,
            getattr(tokenizer, "pad_token_id", None),
            getattr(tokenizer, "padding_side", None),
            getattr(collator, "pad_to_multiple_of", None),
        ],
        "precision": precision,
        "device": filling.device.type,
    }


def _frozen_weights(model: Any) -> dict[str, NDArray[Any]]:
    """The bytes of all weights that are not trained, and of the buffers."""
    kept = {name: one for name, one in model.named_parameters() if not one.requires_grad}
    kept |= dict(model.named_buffers())
    return {
        name: one.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        for name, one in kept.items()
    }


def _digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.view(np.uint8).data)
    return digest.hexdigest()
