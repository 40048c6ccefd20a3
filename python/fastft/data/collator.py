"""Rows of token ids to one padded batch of tensors.

Given a `BatchReference` the rows are gathered, widened and padded in Rust and handed to torch
without a copy; given anything else, or options that the Rust side does not know, the class of
transformers does the work. Both give the same batch: keys, their order, dtypes, values, type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import transformers

from fastft.data.batch import Batch, padded_batch
from fastft.data.padding import RustPadding
from fastft.data.token_dataset import BatchReference
from fastft.data.tokenizer import Tokenizer


@dataclass
class DataCollatorWithPadding(RustPadding, transformers.DataCollatorWithPadding):  # type: ignore[misc]
    """Pads the rows of a batch to one width, as the class of the same name in transformers does.

    Args:
        tokenizer: A tokenizer of transformers or a `fastft.Tokenizer`; it says how to pad.
        padding: True or `"longest"`, `"max_length"`, or False.
        max_length: The width for `padding="max_length"`.
        pad_to_multiple_of: The width is rounded up to a multiple of this.
        return_tensors: `"pt"` or `"np"`.

    Example:
        >>> collate = DataCollatorWithPadding(tokenizer)  # doctest: +SKIP
        >>> loader = fastft.DataLoader(dataset, 16, collate_fn=collate)  # doctest: +SKIP
    """

    tokenizer: Any

    def __post_init__(self) -> None:
        if isinstance(self.tokenizer, Tokenizer):
            self.tokenizer = self.tokenizer.hf

    def __call__(self, features: list[dict[str, Any]]) -> Any:
        """Pads `features`: a `BatchReference`, or a list of dicts as a tokenizer gives them.

        Returns:
            A `BatchEncoding` of tensors: `input_ids`, `token_type_ids`, `attention_mask` int64
            (B, T), and the columns (labels; the start and end positions of answers), (B,) each.
        """
        if isinstance(features, BatchReference):
            batch = self.rust_batch(features)
            if batch is not None:
                return batch
        return super().__call__(features)

    def _finished(self, tensors: dict[str, Any], features: BatchReference) -> Batch:
        # Renamed in the way of the stock collator: at the end, and over what is there.
        for name in ("label", "label_ids"):
            if name in tensors:
                tensors["labels"] = tensors.pop(name)
        return padded_batch(tensors, features.rows)


@dataclass
class FixedWidthCollator:
    """Pads every batch to the longest row of its data set.

    Some heads take a softmax over all positions, padding included, so that their loss depends on
    the width; with one width for all it does not depend on which rows share a batch.

    Args:
        tokenizer: A tokenizer of transformers; it says how to pad.
    """

    tokenizer: Any

    def __post_init__(self) -> None:
        self._padding = DataCollatorWithPadding(self.tokenizer, padding="max_length")
        self._identity: object = None

    def __call__(self, features: list[dict[str, Any]]) -> Any:
        """Pads `features`; rows that are no `BatchReference` are padded to the longest of them."""
        if not isinstance(features, BatchReference):
            return DataCollatorWithPadding(self.tokenizer)(features)
        if features.dataset.identity is not self._identity:
            self._padding.max_length = int(features.dataset.lengths.max())
            self._identity = features.dataset.identity
        return self._padding(features)
