"""Inference: a trained model put to rows, without a Trainer."""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from fastft.data.dataloader import DataLoader
from fastft.errors import DataError
from fastft.tasks.supervision import lost_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from transformers import PreTrainedModel

    from fastft.data.sources import Split
    from fastft.data.token_dataset import TokenDataset
    from fastft.data.tokenizer import Tokenizer


@dataclass(frozen=True)
class Inference:
    """A model and how it is put to rows.

    Args:
        model: The model.
        tokenizer: Its tokenizer, which pads on the right.
        max_length: Rows are cut to this many tokens.
        batch_size: Rows a forward pass.
        options: What the task takes beyond that, for example `num_beams`.
    """

    model: PreTrainedModel
    tokenizer: Tokenizer
    max_length: int
    batch_size: int = 32
    options: Mapping[str, Any] = field(default_factory=dict)

    def outputs(self, dataset: TokenDataset, collator: Any) -> Iterator[Any]:
        """Gives what the model makes of each batch, in the order of the rows."""
        loader: DataLoader[Any] = DataLoader(
            dataset, batch_size=self.batch_size, collate_fn=collator
        )
        with self.evaluating():
            for batch in loader:
                yield self.model(**batch.to(self.model.device))

    def logits(self, dataset: TokenDataset, collator: Any) -> np.ndarray:
        """Gives the logits of all rows, float32 (B, ...), for heads whose shape is fixed."""
        rows = [output.logits.float().cpu() for output in self.outputs(dataset, collator)]
        return torch.cat(rows).numpy()

    def check(self, dataset: TokenDataset, split: Split) -> None:
        """Refuses rows without a token, and warns of rows that were cut.

        Raises:
            DataError: There is a row without a token; the first one is named.
        """
        empty = (dataset.lengths == 0).nonzero()[0]
        if len(empty):
            raise DataError(
                "a text has no token, so there is nothing to look at",
                place=split.place(int(empty[0])),
                found=f"{len(empty):,} such rows; this tokenizer adds no special tokens",
                expected="at least one token in every row",
                fix="leave empty texts out",
            )
        self.warn_of_cuts(dataset)

    def warn_of_cuts(self, dataset: TokenDataset) -> None:
        """Warns of rows that were cut to the maximal length."""
        if dataset.num_truncated_rows:
            warnings.warn(
                f"{dataset.num_truncated_rows:,} of {len(dataset):,} rows were cut to "
                f"{self.max_length} tokens, the max_length of the training, and lose "
                + lost_text(dataset),
                stacklevel=2,
            )

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Turns dropout and gradients off, and puts the model back as it was."""
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.model.train(was_training)
