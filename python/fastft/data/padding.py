"""Padding in Rust: when it can be done, and the padded inputs of a batch.

Every collator of ours pads through this mixin, and hands what it does not cover to the class of
transformers that it derives from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import transformers

from fastft.data.ragged_column import RaggedColumn
from fastft.data.token_dataset import BatchReference, TokenDataset

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


IGNORE_INDEX = -100
"""The label that no loss counts, as in torch's cross entropy."""


class RustPadding:
    """What a collator needs to pad a `BatchReference` in Rust.

    Attributes:
        tokenizer: A tokenizer of transformers; it says how to pad.
        padding: True or `"longest"`, `"max_length"`, or False.
        max_length: The width for `padding="max_length"`.
        pad_to_multiple_of: The width is rounded up to a multiple of this.
        return_tensors: `"pt"` or `"np"`.
    """

    tokenizer: Any
    padding: Any
    max_length: int | None
    pad_to_multiple_of: int | None
    return_tensors: str

    ragged_columns: tuple[str, ...] = ()
    """The columns whose rows may differ in length; the stock classes pad no others."""

    def why_not_rust(self, source: BatchReference | TokenDataset | object) -> str | None:
        """Says why batches of `source` would not be made in Rust; None when they would."""
        dataset = source.dataset if isinstance(source, BatchReference) else source
        reason = self._unknown_source(dataset)
        if reason is None and isinstance(source, BatchReference):
            reason = self._unknown_batch(source)
        if reason is None and self.tokenizer.pad_token_id is None:
            return "the tokenizer has no pad token"
        return reason

    def _unknown_source(self, dataset: TokenDataset | object) -> str | None:
        if not isinstance(dataset, TokenDataset):
            return f"the dataset is a {type(dataset).__name__}, not a TokenDataset"
        return (
            self._unknown_option()
            or self._unknown_tokenizer(dataset)
            or self._unknown_column(dataset)
        )

    def _unknown_batch(self, batch: BatchReference) -> str | None:
        if not batch.is_untouched:
            return "the examples of the batch were looked at, and perhaps changed"
        width = self._width()
        if batch.longest == 0 or (width is not None and batch.longest > width):
            return "a batch that the stock collator treats as a special case"
        return None

    def _unknown_option(self) -> str | None:
        if self.return_tensors != "pt":
            return f"return_tensors={self.return_tensors!r} is not 'pt'"
        if self.padding not in (True, "longest") and self._width() is None:
            return f"padding={self.padding!r} with max_length={self.max_length!r} is left to stock"
        multiple = self.pad_to_multiple_of
        if multiple is not None and (not isinstance(multiple, int) or multiple < 1):
            return f"pad_to_multiple_of={multiple!r}"
        return None

    def _unknown_tokenizer(self, dataset: TokenDataset) -> str | None:
        hf, stock = self.tokenizer, transformers.PreTrainedTokenizerBase
        if type(hf).pad is not stock.pad or type(hf)._pad is not stock._pad:
            return f"{type(hf).__name__} pads in its own way"
        if hf.padding_side not in ("left", "right"):
            return f"padding_side={hf.padding_side!r}"
        if hf.model_input_names[0] != "input_ids" or "input_ids" not in dataset.model_inputs:
            return "the main input of the model is not input_ids"
        if ("attention_mask" in hf.model_input_names) != ("attention_mask" in dataset.model_inputs):
            return "only one of tokenizer and dataset has an attention mask"
        if "special_tokens_mask" in dataset.columns:
            return "special_tokens_mask is padded by the stock collator"
        return None

    def _width(self) -> int | None:
        """The width that is asked for, rounded up; None where it follows from the batch."""
        if self.padding != "max_length" or not isinstance(self.max_length, int):
            return None
        multiple = self.pad_to_multiple_of or 1
        return -(-self.max_length // multiple) * multiple

    def _unknown_column(self, dataset: TokenDataset) -> str | None:
        for name, column in dataset.columns.items():
            if isinstance(column, RaggedColumn) and name not in self.ragged_columns:
                return f"the rows of column {name!r} differ in length"
        return None

    def padded_inputs(self, features: BatchReference) -> dict[str, torch.Tensor] | None:
        """Gives the model's inputs, each int64 (B, T), padded as the tokenizer says.

        None where `why_not_rust` has a reason. What it asks is asked anew for every batch, because
        a tokenizer may be changed between two; the pad token, which takes longest, only once.
        """
        dataset, hf = features.dataset, self.tokenizer
        if self._unknown_source(dataset) or self._unknown_batch(features):
            return None
        pad_token_id = hf.pad_token_id
        if pad_token_id is None:
            return None
        has_type_ids = "token_type_ids" in dataset.model_inputs
        input_ids, attention_mask, token_type_ids = dataset.collate(
            features.indices,
            pad_token_id=pad_token_id,
            pad_token_type_id=hf.pad_token_type_id if has_type_ids else None,
            width=self._width(),
            pad_to_multiple_of=self.pad_to_multiple_of,
            padding_side=hf.padding_side,
        )
        arrays = {
            "input_ids": input_ids,
            "token_type_ids": token_type_ids,
            "attention_mask": attention_mask,
        }
        return {name: torch.from_numpy(arrays[name]) for name in dataset.model_inputs}


def column_tensors(
    dataset: TokenDataset, indices: NDArray[np.int64], *, without: tuple[str, ...] = ()
) -> dict[str, torch.Tensor]:
    """Gives the rows of the columns that have an entry a row, as the stock collators do."""
    return {
        name: _tensor(column[indices])
        for name, column in dataset.columns.items()
        if name not in without and not isinstance(column, RaggedColumn)
    }


def as_batch(tensors: dict[str, torch.Tensor], rows: NDArray[np.int64]) -> Any:
    """Gives a `BatchEncoding` that also knows, as an attribute, which rows it was made of."""
    batch = transformers.BatchEncoding()
    batch.data = tensors  # handed over as it is, not key by key
    batch.rows = rows
    return batch


def _tensor(values: NDArray[Any]) -> torch.Tensor:
    tensor = torch.from_numpy(values)
    # The stock collator makes floats from Python numbers, in torch's default type.
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor
