"""Rows with label sequences of their own length: targets of a translation, labels of a chat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
import transformers

from fastft.data.padding import RustPadding, as_batch, column_tensors
from fastft.data.ragged_column import RaggedColumn
from fastft.data.token_dataset import BatchReference, TokenDataset
from fastft.data.tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass
class DataCollatorForSeq2Seq(RustPadding, transformers.DataCollatorForSeq2Seq):  # type: ignore[misc]
    """Pads inputs and labels, as the class of the same name in transformers does.

    Args:
        tokenizer: A tokenizer of transformers or a `fastft.Tokenizer`; it says how to pad.
        model: Asked for the inputs of its decoder, where it makes them from the labels.
        padding: True or `"longest"`, `"max_length"`, or False.
        max_length: The width for `padding="max_length"`.
        pad_to_multiple_of: The widths are rounded up to a multiple of this.
        label_pad_token_id: What pads labels; the loss leaves -100 out.
        return_tensors: `"pt"` or `"np"`.

    Example:
        >>> collate = DataCollatorForSeq2Seq(tokenizer, model)  # doctest: +SKIP
    """

    ragged_columns = ("labels",)

    def __post_init__(self) -> None:
        if isinstance(self.tokenizer, Tokenizer):
            self.tokenizer = self.tokenizer.hf

    def __call__(self, features: list[dict[str, Any]], return_tensors: str | None = None) -> Any:
        """Pads `features`: a `BatchReference`, or a list of dicts.

        Returns:
            A `BatchEncoding`: the model's inputs int64 (B, T), `labels` int64 (B, T of the labels),
            and `decoder_input_ids` where the model makes them.
        """
        if return_tensors in (None, "pt") and isinstance(features, BatchReference):
            inputs = self.padded_inputs(features)
            if inputs is not None:
                return self._with_labels(inputs, features.dataset, features.indices)
        return super().__call__(features, return_tensors)

    def _unknown_column(self, dataset: TokenDataset) -> str | None:
        if not isinstance(dataset.columns.get("labels"), RaggedColumn):
            return "the dataset has no column 'labels' whose rows are sequences"
        if self._width() is not None or "label" in dataset.columns:
            return "labels of a fixed width are left to stock"
        return super()._unknown_column(dataset)

    def _with_labels(
        self, batch: dict[str, torch.Tensor], dataset: TokenDataset, indices: NDArray[np.int64]
    ) -> Any:
        batch.update(column_tensors(dataset, indices))
        labels = cast("RaggedColumn", dataset.columns["labels"])
        multiple = self.pad_to_multiple_of or 1
        width = -(-int(labels.lengths[indices].max(initial=0)) // multiple) * multiple
        side = self.tokenizer.padding_side
        padded = labels.padded(indices, width, self.label_pad_token_id, side)
        batch["labels"] = torch.from_numpy(padded)
        prepare = getattr(self.model, "prepare_decoder_input_ids_from_labels", None)
        if prepare is not None:
            batch["decoder_input_ids"] = prepare(labels=batch["labels"])
        return as_batch(batch, indices)
