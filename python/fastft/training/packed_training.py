"""A Trainer whose batches are packed rows: `batching="packed"`, and what keeps the rows apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastft.data.token_dataset import TokenDataset
from fastft.errors import ConfigurationError
from fastft.modeling.padding_free.model import restore_padding, take_padding_out
from fastft.modeling.padding_free.packed_rows import BY_MASK, BY_ROWS, way_to_keep_apart

if TYPE_CHECKING:
    # The mixin stands before a stock Trainer and uses what is there.
    _StockTrainer = Any
else:
    _StockTrainer = object

LOOKED_AT = 256
"""Training rows from whose tokens those of the trial are drawn."""


def check_rows_apart(
    model: Any, dataset: Any, arguments: Any, ways: tuple[str, ...] = (BY_ROWS, BY_MASK)
) -> str:
    """Finds by what a model keeps the packed rows of a data set apart.

    Args:
        model: The model.
        dataset: The training rows.
        arguments: `TrainingArguments`.
        ways: What may keep them apart, the better first.

    Raises:
        ConfigurationError: Nothing does, the rows are no `TokenDataset`, or several devices would
            share a batch.
    """
    if not isinstance(dataset, TokenDataset):
        raise ConfigurationError(
            "only a TokenDataset can be packed",
            place="argument train_dataset",
            found=type(dataset).__name__,
            expected="a fastft.TokenDataset",
            fix='pass fastft.TokenDataset.from_dataset(rows), or batching="random"',
        )
    if arguments.n_gpu > 1:
        raise ConfigurationError(
            "torch.nn.DataParallel shares a batch by its rows, and packed rows stand in one",
            place="argument batching",
            found=f"'packed', with {arguments.n_gpu} devices in one process",
            expected="a process for each device",
            fix="start the run with torchrun, or show one device only",
        )
    # Row by row: the ids of a mapped file as a whole would be read and compared.
    rows = [dataset.row_ids(int(row)) for row in np.flatnonzero(dataset.lengths)[:LOOKED_AT]]
    ids = np.concatenate([np.empty(0, np.uint16), *rows])
    # The hooks do nothing under a compiler.
    ways = (BY_MASK,) if arguments.torch_compile else ways
    return way_to_keep_apart(model, ids, ways=ways, use_cache=arguments.use_cache)


class PackedTrainingMixin(_StockTrainer):  # type: ignore[misc]  # transformers carries no types
    """Sees to it, before the first step, that packed rows stay apart in the model.

    An evaluation pads, whatever the batches of training are: neither its loss nor its predictions
    depend on the batches.
    """

    _rows_apart: str | None = None
    """What keeps packed rows apart, once it is known."""

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Trains; before that it is looked whether the model keeps packed rows apart.

        Raises:
            ConfigurationError: It does not, or the rows are no `TokenDataset`.
        """
        if self.batching == "packed":
            self._rows_apart = self._way_to_keep_apart()
        return super().train(*args, **kwargs)

    def _way_to_keep_apart(self) -> str:
        model = self.accelerator.unwrap_model(self.model)
        if self.is_deepspeed_enabled or self._is_fsdp1():
            ways: tuple[str, ...] = (BY_MASK,)
        elif self._why_padded is None:
            ways = (BY_ROWS, BY_MASK)
        else:
            ways = (BY_MASK, BY_ROWS)
        return check_rows_apart(model, self.train_dataset, self.args, ways)

    def _keep_rows_apart(self, model: Any) -> None:
        if self._rows_apart is None:
            super()._keep_rows_apart(model)
        elif self._rows_apart == BY_ROWS:
            take_padding_out(model)
        else:
            restore_padding(model)  # an evaluation may have left its hooks

    def explain_padding(self) -> str:
        """Says by what packed rows are kept apart, and what becomes of padding elsewhere."""
        said: str = super().explain_padding()
        if self.batching != "packed":
            return said
        way = self._rows_apart or "what train() finds before its first step"
        return f"rows: packed, kept apart by {way}\n{said}"
